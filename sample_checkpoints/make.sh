#!/bin/sh
# The commands that trained the sample checkpoints, for one thread (the order of a sum depends on the threads).
#   sh sample_checkpoints/make.sh OUTPUT_FOLDER [CIFAR10_FOLDER]
# CIFAR10_FOLDER holds train/CLASS/*.jpg and test/CLASS/*.jpg; without it the CIFAR-10 network is left out.
set -eu
output=$1
export OMP_NUM_THREADS=1
mkdir -p "$output"

digits() {
    name=$1
    shift
    bnsharp train --arch lenet-bn --data digits --rule sgd --seed 0 "$@" --output "$output/$name.pt"
}
digits digits-small-batch --batch-size 32 --epochs 30 --learning-rate 0.05 --milestone 20
digits digits-small-batch-decay --batch-size 32 --epochs 30 --learning-rate 0.05 --milestone 20 --weight-decay 5e-4
digits digits-large-batch --batch-size 718 --epochs 60 --learning-rate 0.2 --milestone 45
digits digits-large-batch-decay --batch-size 718 --epochs 60 --learning-rate 0.2 --milestone 45 --weight-decay 5e-4

if [ $# -gt 1 ]; then
    bnsharp train --arch lenet-bn --data "folder:$2" --rule sgd --seed 0 --batch-size 128 --epochs 15 \
        --learning-rate 0.05 --milestone 9 --milestone 13 --weight-decay 5e-4 --output "$output/cifar10-lenet.pt"
    # Networks of docs/RESULTS.md: 2,400 images, the first seed.
    python -m benchmarks.training_study run --cifar "folder:$2" --output "$output/study" --seeds 1
    study() {
        cp "$output/study/study-cifar10-$2-seed0.pt" "$output/cifar10-study-$1.pt"
    }
    study sgd sgd
    study small-batch sgd-batch-10
    study sam sam
    study sgds sgds-0-corrected-same
    study sgds-printed sgds-0-printed-independent
fi
