#!/bin/bash
# DiDeMo, paragraphs, as CLIP4Clip was published (reference section 3).
# Flags after the script's name go to the trainer and win over those below. `scripts/retrieval_common.sh` names the
# environment variables.
source "$(dirname "${BASH_SOURCE[0]}")/retrieval_common.sh"
setting METHOD clip4clip
setting EPOCHS 5
setting BATCH_SIZE 128
train didemo DiDeMo --max_words 64 --max_frames 64 --backbone ViT-B/32 --optim BertAdam --lr 1e-4 --coef_lr 1e-3 --wd 0.2 \
    --warmup_proportion 0.1 --feature_framerate 1 --slice_framepos 2 --n_display 50 --batch_size_val 16 --num_thread_reader 4 "$@"
