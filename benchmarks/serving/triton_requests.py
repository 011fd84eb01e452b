"""Asks our server through tritonclient and prints what it answered, with the requests as they went over the wire.

`python -m benchmarks.serving.triton_requests HTTP_ADDRESS GRPC_ADDRESS MODEL PICTURE FOLDER` writes FOLDER/binary and
FOLDER/grpc: the body of the binary tensor extension, and the framed message of ModelInfer.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http


def main(http_address: str, grpc_address: str, model: str, picture: str, folder: str) -> None:
    """Ask both ways and print JSON: `binary` and `grpc` answers, and `header_length` of the binary request."""
    data = np.array([Path(picture).read_bytes()], dtype=np.object_)

    tensor = triton_http.InferInput("images", [1], "BYTES")
    tensor.set_data_from_numpy(data, binary_data=True)
    body, header_length = triton_http.InferenceServerClient.generate_request_body([tensor])
    Path(folder, "binary").write_bytes(body)
    with triton_http.InferenceServerClient(http_address) as client:
        answer = client.infer(model, [tensor])
        name = answer.get_response()["outputs"][0]["name"]
        binary = answer.as_numpy(name)[0].tolist()

    tensor = triton_grpc.InferInput("images", [1], "BYTES")
    tensor.set_data_from_numpy(data)
    with triton_grpc.InferenceServerClient(grpc_address) as client:
        grpc = client.infer(model, [tensor]).as_numpy(name)[0].tolist()
    message = triton_grpc.service_pb2.ModelInferRequest(model_name=model)
    message.inputs.add(name="images", datatype="BYTES", shape=[1])
    message.raw_input_contents.append(struct.pack("<I", len(data[0])) + data[0])
    text = message.SerializeToString()
    Path(folder, "grpc").write_bytes(struct.pack(">BI", 0, len(text)) + text)

    print(json.dumps({"binary": binary, "grpc": grpc, "header_length": header_length}))


if __name__ == "__main__":
    main(*sys.argv[1:])
