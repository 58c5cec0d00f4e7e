import httpx
import pytest
from fastapi import APIRouter, FastAPI

from service.metrics import Metrics
from service.middleware import RequestMetrics, TooLargeIsAProblem


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client(metrics: Metrics) -> httpx.AsyncClient:
    routes = APIRouter(max_body_size=10)

    @routes.post("/items/{name}")
    async def make(name: str, body: list[int]) -> int:
        return sum(body)

    @routes.post("/refused")
    async def refuse(body: list[int]) -> None:
        raise ValueError(body)

    app = FastAPI()
    app.add_middleware(TooLargeIsAProblem)
    app.add_middleware(RequestMetrics, metrics=metrics)
    app.include_router(routes)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


def count(metrics: Metrics, route: str, status: int) -> float | None:
    return metrics.registry.get_sample_value(
        "rankloop_requests_total", {"route": route, "status": str(status)}
    )


async def test_requests_are_counted_by_the_route_not_by_the_path(
    client: httpx.AsyncClient, metrics: Metrics
) -> None:
    for path in ("/items/a", "/items/b", "/nowhere", "/neither"):
        await client.post(path, json=[1, 2])
    await client.post("/refused", json=[1])

    assert count(metrics, "/items/{name}", 200) == 2
    assert count(metrics, "other", 404) == 2
    assert count(metrics, "/refused", 500) == 1


async def test_a_body_too_large_is_a_problem(client: httpx.AsyncClient, metrics: Metrics) -> None:
    response = await client.post("/items/a", json=[1] * 100)

    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["detail"] == told["message"] == told["error"]["message"]
    assert told["detail"] == "the body is larger than it may be"
    assert count(metrics, "/items/{name}", 413) == 1
