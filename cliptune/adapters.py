"""peft's low-rank adapters on open_clip's towers: putting them in, merging them, and peft's own folder on disk.

A tower's attention must be split (`attention.split`), so that all that is adapted is a Linear or a convolution of its own.
peft is imported where it is used: it brings accelerate and much of transformers, which no other run needs.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cliptune.archive import is_name
from cliptune.distributed import unsharded
from cliptune.errors import CheckpointError
from cliptune.lean import import_peft

if TYPE_CHECKING:
    from peft import LoraConfig

CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME = "adapter_config.json", "adapter_model.safetensors"  # as peft.utils.constants has them
ADAPTER = "default"  # peft's name of an only adapter
START = "start"  # a frozen second one, which takes PiSSA's start off again
WRAPPED = "base_model.model."  # what peft's folder puts before each name
OWN = ("open_clip", "timm")  # libraries of the models that peft names where it writes an adapter of theirs itself


def library() -> Any:
    """The module peft."""
    import_peft()
    return sys.modules["peft"]


def pattern(names: Iterable[str]) -> str:
    """One regular expression that matches exactly these full names; peft matches lists by their ends, in both towers alike."""
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        before, number, after = re.fullmatch(r"(.*?)(\d*)(\D*)", name).groups()  # type: ignore[union-attr]
        grouped[before, after].append(number)
    return "|".join(f"{re.escape(before)}({'|'.join(numbers)}){re.escape(after)}" for (before, after), numbers in grouped.items())


def layers(model: nn.Module) -> dict[str, Any]:
    """The adapted layers by name."""
    kind = library().tuners.lora.LoraLayer
    return {name: module for name, module in model.named_modules() if isinstance(module, kind)}


def learning(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter tensors that learn, by name."""
    starts = tuple(f"{name}.lora_" for name in layers(model))
    return {name: p for name, p in model.named_parameters() if p.requires_grad and name.startswith(starts)}


def inject(model: nn.Module, config: "LoraConfig") -> None:
    """Put the adapters in; the base weights keep their bits.

    PiSSA (Meng et al. 2024, eq. 2 to 5) takes the principal part out of the base weights. Here they stay, and a frozen product takes
    it off: W - B0 A0 + B A is the same function, and so is the gradient of A and B.
    """
    peft = library()
    if config.init_lora_weights != "pissa":
        peft.inject_adapter_in_model(config, model, ADAPTER)
        _follow(model)
        return
    before = {name: value.detach().clone() for name, value in model.named_parameters() if re.fullmatch(_weights(config), name)}
    peft.inject_adapter_in_model(config, model, ADAPTER)
    plain = peft.LoraConfig(r=config.r, lora_alpha=config.lora_alpha, target_modules=config.target_modules)
    peft.inject_adapter_in_model(plain, model, START)
    with torch.no_grad():
        for name, layer in layers(model).items():
            base: Any = layer.get_base_layer()
            base.weight.data = before[f"{name}.weight"]
            layer.lora_A[START].weight.copy_(layer.lora_A[ADAPTER].weight)
            layer.lora_B[START].weight.copy_(-layer.lora_B[ADAPTER].weight)
            layer.set_adapter([ADAPTER, START])
            for part in (layer.lora_A, layer.lora_B):
                part[START].requires_grad_(False)
    _follow(model)


def _follow(model: nn.Module) -> None:
    """Put new layers into the mode of what they stand beside, since peft makes them in training mode; and let Linears compute as one."""
    from cliptune.adapted_linear import install

    for layer in layers(model).values():
        layer.train(layer.get_base_layer().training)
        install(layer)


def _weights(config: "LoraConfig") -> str:
    return rf"({config.target_modules})\.weight"


@contextmanager
def switched_off(model: nn.Module) -> Iterator[None]:
    """While it lasts, the adapted layers are the layers below."""
    found = list(layers(model).values())
    for layer in found:
        layer._disable_adapters = True  # peft's own `enable_adapters` also freezes the adapters, which a graph under way does not bear
    try:
        yield
    finally:
        for layer in found:
            layer._disable_adapters = False


def drift(layer: Any) -> Tensor:
    """The squared distance of an adapted layer's weight from the one below, with a gradient."""
    magnitude = layer.lora_magnitude_vector
    if not magnitude and layer.active_adapters == [ADAPTER] and isinstance(layer.get_base_layer(), nn.Linear):
        a, b = unsharded(layer.lora_A[ADAPTER].weight), unsharded(layer.lora_B[ADAPTER].weight)
        return ((a @ a.T) * (b.T @ b)).sum() * layer.scaling[ADAPTER] ** 2  # of their product, which need not be computed
    change: Tensor = sum(_product(layer, name) for name in layer.active_adapters)  # type: ignore[assignment]
    if not magnitude:
        return change.square().sum()
    weight = unsharded(layer.get_base_layer().weight)
    changed = (weight + change).flatten(1)
    length = changed.norm(dim=1, keepdim=True).detach()  # a constant in the gradient, as everywhere in DoRA (Liu et al. 2024, sec. 4.3)
    return (unsharded(magnitude[ADAPTER].weight).reshape(-1, 1) / length * changed - weight.flatten(1)).square().sum()


def norm_below(layer: Any) -> Tensor:
    """The Frobenius norm of the weight below an adapted layer, a scalar."""
    return unsharded(layer.get_base_layer().weight).norm()


def _product(layer: Any, name: str) -> Tensor:
    """The change of the weight that one adapter makes, in the weight's shape."""
    a, b = unsharded(layer.lora_A[name].weight), unsharded(layer.lora_B[name].weight)
    return (b.flatten(1) @ a.flatten(1) * layer.scaling[name]).reshape(layer.get_base_layer().weight.shape)


def merge(model: nn.Module) -> None:
    """Add every adapter to its base weight, and take the adapters away."""
    for name, layer in layers(model).items():
        layer.merge(safe_merge=True)
        above, _, last = name.rpartition(".")
        setattr(model.get_submodule(above), last, layer.get_base_layer())


def save(model: nn.Module, config: "LoraConfig", folder: str | Path) -> None:
    """Write the adapter as peft does: plain peft loads it on an open_clip model whose attention is split.

    PiSSA's two products are written as one of twice the rank, which needs no changed base weights.
    """
    peft = library()
    state = {key: value.detach().cpu() for key, value in peft.get_peft_model_state_dict(model, adapter_name=ADAPTER).items()}
    if config.init_lora_weights == "pissa":
        start = peft.get_peft_model_state_dict(model, adapter_name=START)
        state = {key: torch.cat([value, start[key].cpu()], dim=0 if "lora_A" in key else 1) for key, value in state.items()}
        config = peft.LoraConfig(
            r=2 * config.r, lora_alpha=2 * config.lora_alpha, lora_dropout=config.lora_dropout, target_modules=config.target_modules
        )
    config.save_pretrained(str(folder))
    save_file({f"{WRAPPED}{key}": value.contiguous() for key, value in state.items()}, Path(folder) / SAFETENSORS_WEIGHTS_NAME)


def read(folder: str | Path) -> tuple["LoraConfig", dict[str, Tensor]]:
    """Read an adapter folder of peft's.

    Raises:
        CheckpointError: a file is missing, or is not what it should be.
    """
    files = [Path(folder) / name for name in (CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME)]
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{folder} has no {file.name}: it is no adapter folder of peft.")
    try:
        _check_told(folder, json.loads(files[0].read_text(encoding="utf-8")))
        config, state = library().LoraConfig.from_pretrained(str(folder)), load_file(files[1])
    except CheckpointError:
        raise
    except Exception as error:  # json, peft and safetensors raise many kinds
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise CheckpointError(f"{folder} cannot be read as an adapter: {said}.") from error
    if not all(map(is_name, state)):
        raise CheckpointError(f"{folder} cannot be read as an adapter: it has tensors of names that no layer has.")
    return config, {key.removeprefix(WRAPPED): value for key, value in state.items()}


def _check_told(folder: str | Path, told: Any) -> None:
    """Refuse an adapter's config of another kind, and one that has peft import modules: a folder may be of anybody."""
    kind = told.get("peft_type") if isinstance(told, dict) else told
    if kind != "LORA":
        raise CheckpointError(f"{folder} holds {kind if is_name(kind) else 'something else'}, not LORA.")
    mapping = told.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    named = {"auto_mapping": None if str(library).split(".")[0] in OWN else library, "megatron_config": told.get("megatron_config")}
    for key, value in named.items():
        if value is not None:
            raise CheckpointError(
                f"{folder} names code of its own ({key} in {CONFIG_NAME}), and an adapter must bring none. Remove that key."
            )


def put(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put an adapter's tensors into a model that has the adapter.

    Raises:
        CheckpointError: keys are missing, unknown, or of another shape; peft itself would pass over them.
    """
    peft = library()
    ours = peft.get_peft_model_state_dict(model, adapter_name=ADAPTER)
    odd = {
        "lacks": sorted(ours.keys() - state.keys()),
        "has the unknown": sorted(state.keys() - ours.keys()),
        "has in another shape": sorted(key for key in ours.keys() & state.keys() if ours[key].shape != state[key].shape),
    }
    parts = [f"{lead} {', '.join(keys[:3])}" for lead, keys in odd.items() if keys]
    if parts:
        raise CheckpointError(f"the adapter {' and '.join(parts)}. It does not fit this model: give the backbone that it was made on.")
    peft.set_peft_model_state_dict(model, state, adapter_name=ADAPTER)
