#!/usr/bin/env bash
# docs/results.md: measures the study's models, as far as they are here, and writes its tables and answers.
#
#     tests/results.sh PYTHON SHARED
#
# SHARED has images/ (the four pictures, and eval/ with labels.csv), models/ and published_results.csv. The logs stay
# in results/, for `run.py compare` and for `run.py study` again.
set -euo pipefail
python=$1 shared=$2
logs=results
rm -rf "$logs"
mkdir "$logs"

labelcam() {
    "$python" run.py "$@" --models-dir "$shared/models"
}

tflite=(mobilenet_v2_1.0_224_quant mobilenet_v1_0.75_192_quant mobilenet_v1_0.25_128_quant
    tf2_mobilenet_v2_1.0_224_ptq efficientnet_lite0)
modes=(graph function xla eager)

models=() all_modes=()
for model in "${tflite[@]}"; do models+=(--model "$model"); done
for mode in "${modes[@]}"; do all_modes+=(--mode "$mode"); done
pictures=()
for name in parrot wheaten_terrier pizza marmot; do pictures+=("$shared/images/$name.jpg"); done

labelcam bench "${pictures[@]}" "${models[@]}" --backend tflite --log "$logs/tflite.jsonl"
labelcam bench "${pictures[@]}" --backend tensorflow "${all_modes[@]}" --log "$logs/tensorflow.jsonl"
labelcam bench "$shared/images/eval" "${models[@]}" --backend tflite --runs 1 --log "$logs/tflite-photos.jsonl"
labelcam bench "$shared/images/eval" --backend tensorflow "${all_modes[@]}" --runs 1 \
    --log "$logs/tensorflow-photos.jsonl"
for model in "${tflite[@]}"; do
    labelcam live --source demo: --encode always --duration 25 --port 0 --model "$model" \
        --backend tflite --log "$logs/live-$model.jsonl"
done
for mode in "${modes[@]}"; do
    labelcam live --source demo: --encode always --duration 25 --port 0 \
        --backend tensorflow --mode "$mode" --log "$logs/live-$mode.jsonl"
done
labelcam study "$logs"/*.jsonl --published "$shared/published_results.csv" \
    --labels-csv "$shared/images/eval/labels.csv" --markdown docs/results.md
