#!/bin/bash
# ActivityNet, paragraphs, as STOP was published (reference section 8.9).
# Flags after the script's name go to the trainer and win over those below. `scripts/retrieval_common.sh` names the
# environment variables.
source "$(dirname "${BASH_SOURCE[0]}")/retrieval_common.sh"
setting METHOD stop
setting EPOCHS 10
setting BATCH_SIZE 128
train activity ActivityNet --lr 1e-3 --coef_lr 1e-3 --max_words 64 --max_frames 64 --num_thread_reader 6 --backbone ViT-B/32 --optim AdamW --wd 0.2 --warmup_proportion 0.1 \
    --precision amp --freeze_clip 1 --feature_framerate 3 --slice_framepos 2 --n_display 50 --batch_size_val 16 "$@"
