"""The same ONNX file behind others' servers: python serve_peer.py fastapi|litserve FILE.onnx PORT.

fastapi: an endpoint that decodes the picture and calls onnxruntime per request. litserve: its batching, 64 rows within 2 ms, as `lamina serve`.
"""

import io
import sys

import numpy as np
import onnxruntime
from PIL import Image


def opened(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))[None, :, :, None]


def fastapi(path, port):
    import uvicorn
    from fastapi import FastAPI, Request

    session, app = opened(path), FastAPI()

    @app.post("/ask")
    async def ask(request: Request):
        answer, shares = session.run(["answer", "probabilities"], {"image": pixels(await request.body())})
        return {"answer": str(answer[0]), "probabilities": [float(p) for p in shares[0]]}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


def litserve(path, port):
    import litserve as ls
    from fastapi import Request

    class Api(ls.LitAPI):
        def setup(self, device):
            self.session = opened(path)

        async def decode_request(self, request: Request):
            return pixels(await request.body())

        def batch(self, inputs):
            return np.concatenate(inputs)

        def predict(self, batch):
            return self.session.run(["answer", "probabilities"], {"image": batch})

        def unbatch(self, output):
            return list(zip(*output, strict=True))

        def encode_response(self, output):
            return {"answer": str(output[0]), "probabilities": [float(p) for p in output[1]]}

    api = Api(max_batch_size=64, batch_timeout=0.002, api_path="/ask")
    ls.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=port, log_level="error", generate_client_file=False
    )


if __name__ == "__main__":
    {"fastapi": fastapi, "litserve": litserve}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
