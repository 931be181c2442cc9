import os
import subprocess
import sys
import textwrap

from prometheus_client.parser import text_string_to_metric_families

from strongroom.observe import metrics


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_request_is_counted_by_operation() -> None:
    before = samples(metrics.exposition().decode())  # other tests in this process count too
    metrics.observe_request("GetObject", 200, 0.003, 0, 1000)
    metrics.observe_request("GetObject", 200, 0.003, 0, 1000)
    metrics.count_error("NoSuchKey")
    metrics.count_integrity_error()
    metrics.count_deleted_blobs(3)
    metrics.observe_kms_call("Decrypt", "refused", 0.003)
    metrics.count_kms_retry("Decrypt")
    metrics.count_bucket_key_lookup("Decrypt", "hit")
    after = samples(metrics.exposition().decode())
    told = {key: value - before.get(key, 0) for key, value in after.items()}
    get = (("operation", "GetObject"),)
    assert told["strongroom_requests_total", (*get, ("status", "200"))] == 2
    assert told["strongroom_sent_bytes_total", get] == 2000
    assert told["strongroom_request_seconds_count", get] == 2
    assert told["strongroom_request_seconds_bucket", (("le", "0.005"), *get)] == 2
    assert told["strongroom_errors_total", (("code", "NoSuchKey"),)] == 1
    assert told["strongroom_integrity_errors_total", ()] == 1
    assert told["strongroom_deleted_blobs_total", ()] == 3
    decrypt = ("operation", "Decrypt")
    assert told["strongroom_kms_calls_total", (decrypt, ("outcome", "refused"))] == 1
    assert told["strongroom_kms_call_seconds_bucket", (("le", "0.005"), decrypt)] == 1
    assert told["strongroom_kms_retries_total", (decrypt,)] == 1
    assert told["strongroom_bucket_key_lookups_total", (("found", "hit"), decrypt)] == 1


def test_processes_are_summed_and_a_successor_goes_on(tmp_path) -> None:
    """Three workers count, one of them is killed and has a successor of the same name; every process tells the sum."""
    program = textwrap.dedent(
        """
        import os, signal
        from strongroom.observe import metrics

        def work(name):
            if (pid := os.fork()) == 0:
                metrics.become(name)
                metrics.observe_request("PutObject", 200, 0.1, 5, 0)
                metrics.count_integrity_error()
                metrics.tell_kms_breaker(is_open=name != "worker-2")
                os.kill(os.getpid(), signal.SIGKILL)
            os.waitpid(pid, 0)

        for name in ("worker-0", "worker-1", "worker-2", "worker-1"):
            work(name)
        metrics.count_worker_restart()
        print(metrics.exposition().decode())
        """
    )
    environ = {**os.environ, metrics.DIRECTORY_VARIABLE: str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, check=True, timeout=30)
    told = samples(done.stdout.decode())
    assert told["strongroom_requests_total", (("operation", "PutObject"), ("status", "200"))] == 4
    assert told["strongroom_received_bytes_total", (("operation", "PutObject"),)] == 20
    assert told["strongroom_integrity_errors_total", ()] == 4
    assert told["strongroom_worker_restarts_total", ()] == 1
    assert told["strongroom_kms_breakers_open", ()] == 2
    assert sorted(os.listdir(tmp_path)) == sorted(
        [f"{kind}_worker-{number}.db" for kind in ("counter", "gauge_sum", "histogram") for number in range(3)]
        + ["counter_supervisor.db", "gauge_sum_supervisor.db"]
    )
