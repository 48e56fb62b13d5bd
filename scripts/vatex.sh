#!/bin/bash
# VATEX, as STOP was published; its script meant to pass group2-2, and lost it to a missing line continuation.
# Flags after the script's name go to the trainer and win over those below. `scripts/retrieval_common.sh` names the
# environment variables.
source "$(dirname "${BASH_SOURCE[0]}")/retrieval_common.sh"
setting METHOD stop
setting EPOCHS 10
setting BATCH_SIZE 512
train vatex VATEX --lr 5e-3 --coef_lr 1e-3 --max_words 32 --max_frames 12 --temporal_prompt group2-2 --expand_msrvtt_sentences \
    --num_thread_reader 8 --backbone ViT-B/32 --optim AdamW --wd 0.2 --warmup_proportion 0.1 \
    --precision amp --freeze_clip 1 --feature_framerate 3 --slice_framepos 2 --n_display 50 --batch_size_val 16 "$@"
