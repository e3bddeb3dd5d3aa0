"""The rate of the device's bfloat16 matrix products, as torch gets it: what shares are of."""

import torch

from benchmarks.gpu.part import Told
from benchmarks.gpu.scene import Scene

_N_PRODUCTS = 20


def measure(scene: Scene, told: Told) -> None:
    """Time products of square matrices of random numbers (zeros run faster: less power)."""
    n = scene.sizes.square
    left, right = (torch.randn(n, n, device=scene.device).to(scene.dtype) for _ in range(2))
    out = torch.empty_like(left)

    def products() -> None:
        for _ in range(_N_PRODUCTS):
            torch.mm(left, right, out=out)

    products()
    seconds = min(scene.seconds(products) for _ in range(3))
    rate = _N_PRODUCTS * 2 * n**3 / seconds
    print(f"{n} x {n} x {n} in {scene.dtype}: {rate / 1e12:.1f} TFLOP/s")
    told(flops_per_second=rate)
