#!/bin/bash
# MSR-VTT, 9k training videos and the 1k-A test pairs, as STOP was published (reference section 8.9).
# Flags after the script's name go to the trainer and win over those below. `scripts/retrieval_common.sh` names the
# environment variables.
source "$(dirname "${BASH_SOURCE[0]}")/retrieval_common.sh"
setting METHOD stop
setting EPOCHS 5
setting BATCH_SIZE 128
train msrvtt MSRVTT --protocol 9k --expand_msrvtt_sentences --lr 1e-3 --coef_lr 5e-4 --max_words 32 --max_frames 12 \
    --num_thread_reader 8 --backbone ViT-B/32 --optim AdamW --wd 0.2 --warmup_proportion 0.1 \
    --precision amp --freeze_clip 1 --feature_framerate 3 --slice_framepos 2 --n_display 50 --batch_size_val 16 "$@"
