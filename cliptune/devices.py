"""What the hardware is asked to do: precision, TF32, and which of Lightning's strategies are exact here."""

from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry

from cliptune.errors import ConfigError

STRATEGIES = ("auto", "ddp", "single_device", "ddpstrategy", "singledevicestrategy", "fsdp2")


def default_precision(accelerator: str) -> str:
    """`bf16-mixed` where the hardware multiplies bfloat16 itself, with float32 weights; else `32-true`.

    Args:
        accelerator: the trainer's: auto, gpu, cuda or cpu; others train in 32 bits.
    """
    if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda"):
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    other = torch.backends.mps.is_available() and accelerator == "auto"
    if accelerator in ("auto", "cpu") and not other:
        tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has no public name for them yet
        if any(getattr(torch.cpu, test, bool)() for test in tests):
            return "bf16-mixed"
    return "32-true"


def allow_tf32() -> None:
    """Let float32 products of the towers take TF32, where there is a GPU; losses and scores stay exact (`similarity.exact`)."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")


def check_strategy(strategy: Any) -> None:
    """Refuse strategies under which the contrastive loss would not be that of the whole batch.

    Args:
        strategy: the trainer's, as the config has it.

    Raises:
        ConfigError: naming those that fit.
    """
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    if name.lower() not in STRATEGIES and not name.startswith("ddp_find_unused"):
        raise ConfigError(
            f"trainer.strategy {name} is not supported: it was not shown to give one process's gradient. Use ddp "
            "(configs/scale/ddp), or for towers too large for one device fsdp2 (configs/scale/fsdp)."
        )


class FSDP2(ModelParallelStrategy):
    """Lightning's ModelParallelStrategy with all devices of all machines as one group of shards, and checkpoints of one file."""

    def __init__(self) -> None:
        super().__init__(data_parallel_size="auto", tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Count the devices, which are known only now."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


StrategyRegistry.register("fsdp2", FSDP2, description="every parameter sharded over all devices")
