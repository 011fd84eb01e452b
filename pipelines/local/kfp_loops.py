"""`dsl.ParallelFor` on this machine: one item after the other, and none after one that failed.

Replaces two functions of kfp 2.17: `ParallelExecutor.execute_parallel_tasks` runs two items at a time, and continues
with the others after a failure or Ctrl-C; `create_parameter_loop_iteration_task_spec` replaces every other parameter
that comes from a task before the loop by the item. They can go when KFP's local loops have a limit of one and keep
those parameters. Here each item also has a folder `<name of the loop>=<item>`, such as `fold=2`.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ITEM = "ITEM"
"""Begins the line that is printed before the tasks of an item; after them one without a name is printed."""

_EQUALS = "="
"""In the names of the items' folders, and in no task's name."""
_NUMBER = "-iteration-"
"""KFP appends this and a number to a task's name for its folder."""


def install() -> None:
    """Makes KFP run loops one item at a time in this process."""
    from kfp.local.orchestrator import enhanced_dag_orchestrator, task_spec_utils

    task_spec_utils.create_parameter_loop_iteration_task_spec = _with_item
    enhanced_dag_orchestrator.ParallelExecutor.execute_parallel_tasks = _run_in_turn


def task_folders(folder: Path) -> Iterator[Path]:
    """The folders of the tasks below a run's folder, in order; those of loops are in the folders of their items."""
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _EQUALS in path.name:
            yield from task_folders(path)
        else:
            yield path


def without_numbers(text: str) -> str:
    """A path, or a text with paths, with the final names of the items' folders."""
    return re.sub(rf"{_NUMBER}\d+(?=/|$)", "", text)


def _with_item(loop: Any, item: Any, _: str) -> Any:
    """Replaces `create_parameter_loop_iteration_task_spec`: the loop's task with one item as its input."""
    from kfp.compiler.pipeline_spec_builder import to_protobuf_value

    task = type(loop)()
    task.CopyFrom(loop)
    task.ClearField("parameter_iterator")
    task.inputs.parameters[loop.parameter_iterator.item_input].runtime_value.constant.CopyFrom(to_protobuf_value(item))
    return task


def _run_in_turn(
    _: object,
    tasks: Sequence[tuple[str, Any]],
    *,
    io_store: Any,
    fail_stack: list[str],
    parallelism_limit: int = 0,
    **shared: Any,
) -> tuple[dict[str, Any], Any]:
    """Replaces `ParallelExecutor.execute_parallel_tasks`: the outputs by name of the item's task, and the status."""
    from kfp.local.orchestrator.enhanced_dag_orchestrator import execute_task
    from kfp.local.status import Status

    outputs_by_task: dict[str, Any] = {}
    for number, (name, task) in enumerate(tasks):
        title = _title(task, number)
        print(f"{ITEM} {title}", flush=True)
        outputs, status = execute_task(
            task_name=f"{title}{_NUMBER}{number}", task_spec=task, io_store=io_store, fail_stack=fail_stack, **shared
        )
        print(ITEM, flush=True)
        if status == Status.FAILURE:
            fail_stack.append(name)
            return {}, status
        outputs_by_task[name] = outputs
        for key, output in outputs.items():
            io_store.put_task_output(name, key, output)
    return outputs_by_task, Status.SUCCESS


def _title(task: Any, index: int) -> str:
    """The loop's name with the item, or the item's `number`; with the index when that is not a whole number >= 0."""
    for name, value in task.inputs.parameters.items():
        if "-loop-item" in name:
            item = value.runtime_value.constant
            item = item.struct_value.fields.get("number", item)
            number = item.number_value if item.WhichOneof("kind") == "number_value" else -1.0
            if number >= 0 and number.is_integer():
                return f"{task.task_info.name}{_EQUALS}{int(number)}"
    return f"{task.task_info.name}{_EQUALS}{index}"
