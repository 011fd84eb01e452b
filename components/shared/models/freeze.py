"""Freeze policies: parts of a backbone whose parameters take no gradient and whose statistics are not updated."""

from torch import nn

from components.shared.models.backbones import stage_names
from serving.runtime.errors import InputError

Freeze = str | int | tuple[str, ...]


def freeze(backbone: nn.Module, policy: Freeze, head: str) -> tuple[str, ...]:
    """Exclude parts of a backbone from training.

    Args:
        backbone: changed in place: the frozen parameters require no gradient.
        policy: `none`; `backbone`, all but the head; the number of stages from the input (see `stage_names`); or names
            of modules or single parameters.
        head: name of the head's module within the backbone.

    Returns:
        The names of the frozen modules, which must stay in evaluation mode. A module without parameters beside the
        head, such as a dropout before it, is not frozen.

    Raises:
        InputError: the backbone has fewer stages or none in one row, no module of that name, or all would be frozen.
    """
    if policy == "none":
        return ()
    if policy == "backbone":
        names = _around(backbone, head)
    elif isinstance(policy, int):
        names = _first_stages(backbone, policy, head)
    else:
        names = [name.removeprefix("backbone.") for name in policy]
    modules, parameters = dict(backbone.named_modules()), dict(backbone.named_parameters())
    for name in names:
        if name in modules and name:
            modules[name].requires_grad_(False)
        elif name in parameters:
            parameters[name].requires_grad_(False)
        else:
            top = ", ".join(child for child, _ in backbone.named_children())
            raise InputError(f"freeze: the backbone has no module '{name}'; at the top it has {top}")
    if not any(parameter.requires_grad for parameter in backbone.parameters()):
        raise InputError("freeze: nothing is left to train; leave the head out")
    return tuple(name for name in names if name in modules)


def _first_stages(backbone: nn.Module, count: int, head: str) -> list[str]:
    names = [name for name in stage_names(backbone) if name != head and not head.startswith(f"{name}.")]
    if count > len(names):
        raise InputError(f"freeze: the backbone has {len(names)} stages, {count} cannot be frozen: {', '.join(names)}")
    return names[:count]


def _around(backbone: nn.Module, head: str) -> list[str]:
    """The largest modules that do not contain the head, and the single parameters beside them."""
    names: list[str] = []
    parent, prefix = backbone, ""
    for part in head.split("."):
        names += [prefix + name for name, _ in parent.named_parameters(recurse=False)]
        names += [
            prefix + name
            for name, child in parent.named_children()
            if name != part and next(child.parameters(), None) is not None
        ]
        parent, prefix = parent.get_submodule(part), f"{prefix}{part}."
    return names
