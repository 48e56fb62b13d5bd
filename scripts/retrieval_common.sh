# Sourced by msrvtt.sh and its like: where things are, from the environment or from dataset/NAME, and the start.
#
# DATA_PATH FEATURES_PATH PRETRAINED_DIR OUTPUT_DIR EPOCHS BATCH_SIZE LIMIT METHOD CUDA_VISIBLE_DEVICES
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# setting NAME DEFAULT: takes NAME from the environment, or the default, and says so.
setting() {
    if [ -n "${!1:-}" ]; then
        echo "$1=${!1}" >&2
    else
        printf -v "$1" '%s' "$2"
        echo "$1=$2 (default)" >&2
    fi
}

# train DATATYPE FOLDER FLAGS...: starts the trainer; a process per visible GPU, all flags may be repeated with others.
train() {
    local datatype=$1 folder=$2
    shift 2
    setting DATA_PATH "dataset/$folder/metadata"
    setting FEATURES_PATH "dataset/$folder/videos"
    setting PRETRAINED_DIR pretrained
    setting OUTPUT_DIR "logs/$(date +%Y-%m-%d-%H-%M-%S)_${datatype}_$METHOD"
    echo "CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-all}" >&2
    local limit=()
    if [ -n "${LIMIT:-}" ]; then
        echo "LIMIT=$LIMIT" >&2
        limit=(--limit "$LIMIT")
    fi
    exec python train_unified_model.py --do_train 1 --method "$METHOD" --datatype "$datatype" \
        --data_path "$DATA_PATH" --features_path "$FEATURES_PATH" --pretrained_dir "$PRETRAINED_DIR" \
        --output_dir "$OUTPUT_DIR" --epochs "$EPOCHS" --batch_size "$BATCH_SIZE" "${limit[@]}" "$@"
}
