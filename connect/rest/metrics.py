"""`GET /metrics`: the worker's and its tasks' metrics, in Prometheus' text format."""

import math
from collections.abc import Iterable

from fastapi import APIRouter
from starlette.responses import Response

from connect.rest.parameters import Service
from connect.rest.responses import Json
from connect.runtime.peer_metrics import TASKS_PATH
from connect.runtime.service import Sample

router = APIRouter(tags=["metrics"])

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@router.get("/metrics")
async def metrics(service: Service) -> Response:
    return Response(exposition(service.metrics()), media_type=_CONTENT_TYPE)


@router.get(TASKS_PATH)
async def task_metrics(service: Service) -> Response:
    """What the status shows of the tasks that run in this worker: connector → task → fields."""
    return Json(service.task_metrics())


def exposition(samples: Iterable[Sample]) -> str:
    """The text: the samples of one metric together, under its type."""
    families: dict[str, list[str]] = {}
    for sample in samples:
        lines = families.setdefault(sample.name, [f"# TYPE {sample.name} {sample.kind}\n"])
        labels = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in sample.labels.items())
        braced = f"{{{labels}}}" if labels else ""
        lines.append(f"{sample.name}{braced} {_number(sample.value)}\n")
    return "".join(line for lines in families.values() for line in lines)


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
