"""The CUDA path on a machine that has an NVIDIA GPU: made, checked and measured by gpu.sh."""
