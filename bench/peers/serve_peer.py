"""The same ONNX file behind others' servers: python serve_peer.py fastapi|litserve FILE.onnx PORT.

fastapi: an endpoint that decodes the picture and calls onnxruntime per request. litserve: its batching, 64 rows within 2 ms, as `lamina serve`.
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
    options.intra_op_num_threads = len(os.sched_getaffinity(0))  # as Lamina: more would only wait for each other
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))[None, :, :, None]


def fastapi(path, port):
    import uvicorn

    session, app = opened(path), FastAPI()

    @app.post("/ask")
    async def ask(content: UploadFile):
        answer, shares = session.run(["answer", "probabilities"], {"image": pixels(await content.read())})
        return {"answer": str(answer[0]), "probabilities": [float(p) for p in shares[0]]}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


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


def gathering(_, port):
    api = Batching(max_batch_size=64, batch_timeout=0.002, api_path="/ask")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False)


if __name__ == "__main__":
    {"fastapi": fastapi, "litserve": gathering}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
