"""`dsl.ParallelFor` on this machine: one item after the other, and none after one that failed.

KFP's own way works on two items at a time, goes on with the others when one has failed or Ctrl-C has come, and puts
the item in the place of every other parameter that comes from a task before the loop. Here each item has a folder
`<name of the loop>=<item>`, such as `fold=2`.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ITEM = "ITEM "
"""Begins the line that is printed before the tasks of an item; the line after them has no name."""

_SIGN = "="
"""Stands in the name of an item's folder, and in no task's name."""
_NUMBER = "-iteration-"
"""KFP makes a folder for a task with this and a number at the end of its name."""


def install() -> None:
    """Makes KFP run loops in turn in this process."""
    from kfp.local.orchestrator import enhanced_dag_orchestrator, task_spec_utils

    task_spec_utils.create_parameter_loop_iteration_task_spec = _with_item
    enhanced_dag_orchestrator.ParallelExecutor.execute_parallel_tasks = _run_in_turn


def task_folders(folder: Path) -> Iterator[Path]:
    """The folders of the tasks below a run's folder, in order; those of loops are in the folders of their items."""
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _SIGN in path.name:
            yield from task_folders(path)
        else:
            yield path


def without_numbers(text: str) -> str:
    """A path, or a text with paths in it, with the items' folders as they are called when KFP is done."""
    return re.sub(rf"{_NUMBER}\d+(?=/|$)", "", text)


def _with_item(loop: Any, item: Any, _: str) -> Any:
    """Stands in for `create_parameter_loop_iteration_task_spec`: the loop's task with one item instead of all."""
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
    """Stands in for `ParallelExecutor.execute_parallel_tasks`: the outputs by name of the item's task, and the end."""
    from kfp.local.orchestrator.enhanced_dag_orchestrator import execute_task
    from kfp.local.status import Status

    everything: dict[str, Any] = {}
    for number, (name, task) in enumerate(tasks):
        title = _title(task, number)
        print(f"{ITEM}{title}", flush=True)
        outputs, status = execute_task(
            task_name=f"{title}{_NUMBER}{number}", task_spec=task, io_store=io_store, fail_stack=fail_stack, **shared
        )
        print(ITEM, flush=True)
        if status == Status.FAILURE:
            fail_stack.append(name)
            return {}, status
        everything[name] = outputs
        for key, output in outputs.items():
            io_store.put_task_output(name, key, output)
    return everything, Status.SUCCESS


def _title(task: Any, place: int) -> str:
    """The loop's name and the item, or the item's `number`; its place when that is no whole number from 0 on."""
    for name, value in task.inputs.parameters.items():
        if "-loop-item" in name:
            item = value.runtime_value.constant
            item = item.struct_value.fields.get("number", item)
            number = item.number_value if item.WhichOneof("kind") == "number_value" else -1.0
            if number >= 0 and number.is_integer():
                return f"{task.task_info.name}{_SIGN}{int(number)}"
    return f"{task.task_info.name}{_SIGN}{place}"
