#!/usr/bin/env bash
# Train a captioner on MSVD or MSR-VTT, or score one, on any number of GPUs. What follows the number goes to main.py and
# wins over what this file sets. Features come from extractors/extract.py.
#
#     scripts/caption.sh msvd train 1
#     scripts/caption.sh msrvtt train 8 --model_name MSR-VTT_GBased+rel+videomask --attention 1
#     scripts/caption.sh msrvtt eval 8 --checkpoint results/MSR-VTT_GBased+videomask/best
set -euo pipefail

fail() {
    echo "error: $1. Usage: scripts/caption.sh msvd|msrvtt train|eval GPUS [FLAGS OF main.py]" >&2
    exit 2
}

# Published sizes: captions per optimiser step, over all GPUs.
case "${1:-}" in
    msvd) corpus=MSVD batch=64 ;;
    msrvtt) corpus=MSR-VTT batch=128 ;;
    *) fail "the corpus is '${1:-}'" ;;
esac
task=${2:-}
gpus=${3:-1}
[[ $gpus =~ ^[1-9][0-9]*$ ]] || fail "the number of GPUs is '$gpus'"
shift $(($# < 3 ? $# : 3))

words=(--model_name "${corpus}_GBased+videomask" --features "clip4clip_$corpus")
case "$task" in
    train)
        ((batch % gpus == 0)) || fail "$gpus GPUs do not divide a batch of $batch captions"
        micro=$((batch / gpus < 32 ? batch / gpus : 32))
        words+=(--do_train --batch_size "$batch" --micro_batch_size "$micro")
        ;;
    eval) words+=(--do_eval) ;;
    *) fail "the task is '$task'" ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ((gpus == 1)); then
    exec python main.py "${words[@]}" "$@"
fi
exec torchrun --nproc_per_node "$gpus" main.py "${words[@]}" "$@"
