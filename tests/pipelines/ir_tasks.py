"""What feeds what in the IR of a pipeline."""

from typing import Any

from pipelines.intermediate import committed, read_documents

Tasks = dict[str, Any]


def read(name: str) -> tuple[dict[str, Any], Tasks]:
    """The committed IR of a pipeline, which `test_intermediate` holds against the code, and its outermost tasks."""
    spec = read_documents(committed(name).read_text("utf-8"))[0]
    return spec, spec["root"]["dag"]["tasks"]


def artifacts(task: dict[str, Any]) -> dict[str, Any]:
    """By input: the task that makes the artifact with the name of its output, or the input of the condition."""
    found: dict[str, Any] = {}
    for name, source in task["inputs"].get("artifacts", {}).items():
        made = source.get("taskOutputArtifact")
        found[name] = (made["producerTask"], made["outputArtifactKey"]) if made else source["componentInputArtifact"]
    return found


def parameters(task: dict[str, Any]) -> dict[str, Any]:
    """By input: the parameter of the pipeline, the task that returns it, or the constant."""
    found = {}
    for name, source in task["inputs"].get("parameters", {}).items():
        if "componentInputParameter" in source:
            found[name] = source["componentInputParameter"]
        elif "taskOutputParameter" in source:
            made = source["taskOutputParameter"]
            found[name] = (made["producerTask"], made["outputParameterKey"])
        else:
            found[name] = source["runtimeValue"]["constant"]
    return found


def before(tasks: Tasks, name: str) -> set[str]:
    """The tasks that a task waits for, directly or not."""
    found, front = set[str](), {name}
    while front:
        front = {one for task in front for one in tasks[task].get("dependentTasks", [])} - found
        found |= front
    return found


def branch(spec: dict[str, Any], tasks: Tasks) -> tuple[dict[str, Any], Tasks]:
    """The one condition, and the tasks in it, whose inputs are named as outside of it."""
    (condition,) = [task for task in tasks.values() if "condition" in task.get("triggerPolicy", {})]
    inner = spec["components"][condition["componentRef"]["name"]]["dag"]["tasks"]
    outside = {**artifacts(condition), **parameters(condition)}
    return condition, {
        name: {
            key: outside.get(value, value) if isinstance(value, str) else value
            for key, value in {**artifacts(task), **parameters(task)}.items()
        }
        for name, task in inner.items()
    }
