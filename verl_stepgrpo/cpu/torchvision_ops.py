"""Let a torchvision that was built for CUDA be imported beside a CPU build of torch.

Such a torchvision ships no CPU kernels, and its import fails with ``operator torchvision::nms does not
exist``, which takes transformers' image processors along. Declaring the two missing operators is enough:
image transforms are plain ATen operators.

It has to happen in every process before torchvision is imported, so the set-up script of the CPU
environment writes a ``.pth`` line into *its own* environment with ``python -m
verl_stepgrpo.cpu.torchvision_ops``. Nothing is written where torchvision works, and the line is never
shipped in a wheel.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from verl_stepgrpo.imports import when_imported

SCHEMAS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
PTH_NAME = "verl_stepgrpo_torchvision.pth"
PTH_LINE = "import verl_stepgrpo.cpu.torchvision_ops as ops; ops.declare_when_torch_is_imported()\n"


@functools.cache  # lib and lib64 may be one folder, and then Python reads each .pth line twice
def declare_when_torch_is_imported() -> None:
    """Declare the operators as soon as this process imports torch."""
    when_imported("torch", _declare, remedy="Install a CPU build of torchvision.")


def install() -> str:
    """Write the ``.pth`` line into this environment if torchvision needs it; return what was done."""
    if _torchvision_works():
        return "torchvision works here; nothing to do"
    path = Path(sysconfig.get_path("purelib")) / PTH_NAME
    path.write_text(PTH_LINE)
    if not _torchvision_works():
        path.unlink()
        raise SystemExit(
            "torchvision cannot be imported, and declaring its operators does not help; see above"
        )
    return f"torchvision is built for CUDA; its operators are declared by {PTH_NAME}"


def _declare(torch: ModuleType) -> None:
    import torch.library

    for name, schema in SCHEMAS.items():
        torch.library.define(name, schema)


def _torchvision_works() -> bool:
    # In a process of its own: a failed import leaves torchvision half loaded.
    return subprocess.run([sys.executable, "-c", "import torchvision"], check=False).returncode == 0


if __name__ == "__main__":
    print(install())
