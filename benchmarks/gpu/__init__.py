"""What dskd does on a GPU, in the true shape of Llama-3-8B: python -m benchmarks.gpu, make gpu.

Every part runs in a process of its own under a time limit of its own, so a part that fails or hangs
costs no other. Weights are random and made on the device; nothing is downloaded. ``--toy`` plays
all of it on the CPU at a size where no figure means anything: that the programs run, and no more.
"""
