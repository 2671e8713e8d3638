"""The same ONNX file behind others' servers: python serve_peer.py fastapi|litserve FILE.onnx PORT [WORKERS].

fastapi: an endpoint that decodes the picture and calls onnxruntime per request, in one process or more. litserve: its batching, 64 rows within 2 ms, as `lamina serve`.
"""

import io
import os
import sys

import litserve
import numpy as np
import onnxruntime
from fastapi import FastAPI, Request, UploadFile
from PIL import Image


def opened(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    workers = int([*sys.argv[4:], 1][0])
    options.intra_op_num_threads = max(1, len(os.sched_getaffinity(0)) // workers)  # as Lamina: more would only wait
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))[None, :, :, None]


def plain():
    """The endpoint, made in each process."""
    session, app = opened(os.environ["SERVED"]), FastAPI()

    @app.post("/ask")
    async def ask(content: UploadFile):
        answer, shares = session.run(["answer", "probabilities"], {"image": pixels(await content.read())})
        return {"answer": str(answer[0]), "probabilities": [float(p) for p in shares[0]]}

    return app


def fastapi(path, port, workers):
    import uvicorn

    os.environ.update(SERVED=path, PYTHONPATH=os.path.dirname(os.path.abspath(__file__)))
    asked = {"host": "127.0.0.1", "port": port, "log_level": "error", "access_log": False}
    uvicorn.run("serve_peer:plain", factory=True, workers=workers, **asked)


class Batching(litserve.LitAPI):
    """At the top of the file, since LitServe sends it to a process of its own."""

    def setup(self, device):
        self.session = opened(sys.argv[2])

    def decode_request(self, request: Request):
        return pixels(request["content"].file.read())

    def batch(self, inputs):
        return np.concatenate(inputs)

    def predict(self, batch):
        return self.session.run(["answer", "probabilities"], {"image": batch})

    def unbatch(self, output):
        return list(zip(*output, strict=True))

    def encode_response(self, output):
        return {"answer": str(output[0]), "probabilities": [float(p) for p in output[1]]}


def gathering(_, port, workers):
    api = Batching(max_batch_size=64, batch_timeout=0.002, api_path="/ask")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False)


if __name__ == "__main__":
    {"fastapi": fastapi, "litserve": gathering}[sys.argv[1]](sys.argv[2], *map(int, [*sys.argv[3:], 1][:2]))
