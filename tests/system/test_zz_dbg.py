import trio
from tests.system.conftest import *
from tests.support.cluster import Cluster
async def test_x(cluster: Cluster) -> None:
    await cluster.server("front", "scheduler,api")
    cluster.profile = "fast"
    second = await cluster.server("second", "coordinator", callboard_log_level="debug")
    first = await cluster.server("first", "coordinator")
    await cluster.worker("w", first, callboard_log_level="info")
    await cluster.until_workers(1)
    running = await cluster.submit("nap", seconds=2.5)
    await cluster.until_started([running])
    first.kill()
    t=trio.current_time()
    print(first.ready, second.ready)
    for _ in range(12):
        await trio.sleep(0.5)
        print(round(trio.current_time()-t,1), [(w["state"], w["last_seen"], w["health"].get("status"), w["running"]) for w in (await cluster.get("workers"))["items"]])
    print(cluster.log("second"))
