#!/usr/bin/env python3
"""SIGTERM under load: what runs finishes within the grace, the port closes at once, workers go, exit status 0."""
import contextlib
import pathlib
import signal
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
from server import MODEL, Server, in_parallel, wait_for  # noqa: E402


def request(num_predict):
    return {"model": MODEL, "raw": True, "prompt": "one two three four five six seven eight one two three four five six seven eight",
            "options": {"temperature": 0, "num_predict": num_predict, "num_ctx": 8192, "stop": []}}


def refuses(server):
    connection = server.connect(timeout=5)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    finally:
        connection.close()
    return False


class Shutdown(unittest.TestCase):
    def open_streams(self, server, count, num_predict):
        streams = in_parallel(*[lambda: server.stream("/api/generate", request(num_predict))] * count)
        for stream in streams:
            self.assertEqual(200, stream.status)
            self.assertIn("response", stream.next())
        return streams

    def test_running_streams_finish_within_the_grace_and_the_port_closes_at_once(self):
        with Server(with_model=True, env={"OLLAMA_NUM_PARALLEL": "4", "CORRAL_SHUTDOWN_GRACE": "30s"}) as server:
            streams = self.open_streams(server, 4, 100)
            workers = server.workers()
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: refuses(server), "the port to close", 5)
            for records in in_parallel(*[stream.rest for stream in streams]):
                self.assertTrue(records[-1].get("done"), records[-1])
                self.assertEqual(100, records[-1]["eval_count"])
            self.assertEqual(0, server.process.wait(20))
            for worker in workers:
                self.assertFalse(pathlib.Path(f"/proc/{worker}").exists(), "a worker was left behind")

    def test_streams_longer_than_the_grace_end_with_an_error_line(self):
        with Server(with_model=True, env={"OLLAMA_NUM_PARALLEL": "2", "CORRAL_SHUTDOWN_GRACE": "1s"}) as server:
            streams = self.open_streams(server, 2, 7000)
            begin = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            for records in in_parallel(*[stream.rest for stream in streams]):
                self.assertIn("error", records[-1], records[-1])
            self.assertEqual(0, server.process.wait(20))
            self.assertLess(time.monotonic() - begin, 15)

    def test_a_second_signal_ends_it_without_the_grace(self):
        with Server(with_model=True, env={"CORRAL_SHUTDOWN_GRACE": "100s"}) as server:
            (stream,) = self.open_streams(server, 1, 7000)
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: refuses(server), "the port to close", 5)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(0, server.process.wait(20))
            with contextlib.suppress(OSError):
                stream.close()

    def test_an_idle_server_ends_at_once(self):
        with Server(with_model=True, env={"CORRAL_SHUTDOWN_GRACE": "100s"}) as server:
            server.ask("/api/generate", request(2))
            idle = server.connect()  # a kept-alive connection must not hold it
            idle.request("GET", "/api/version")
            idle.getresponse().read()
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(0, server.process.wait(15))
            idle.close()

    def test_sigint_ends_it_like_sigterm(self):
        with Server() as server:
            self.assertEqual(0, server.stop(signal.SIGINT))


if __name__ == "__main__":
    unittest.main(verbosity=2)
