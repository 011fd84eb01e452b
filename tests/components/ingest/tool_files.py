"""Files of annotation tools, as the tools write them."""

import json


def voc(*objects, filename="a.jpg", size=(40, 30), **more):
    parts = [f"<filename>{filename}</filename>"] if filename is not None else []
    if size:
        parts.append(f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    parts += [f"<{name}>{text}</{name}>" for name, text in more.items()]
    return f"<annotation>{''.join(parts)}{''.join(objects)}</annotation>".encode()


def thing(name="happy", box=(1, 2, 11, 22), more=""):
    named = f"<name>{name}</name>" if name is not None else ""
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box or (), strict=False)
    bndbox = f"<bndbox>{''.join(f'<{key}>{value}</{key}>' for key, value in corners)}</bndbox>" if box else ""
    return f"<object>{named}{more}{bndbox}</object>"


TASK = b"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>5</id><name>faces</name><size>3</size><mode>annotation</mode><overlap>0</overlap><flipped>False</flipped>
    <labels><label><name>face</name><color>#fa3253</color><type>any</type><attributes><attribute><name>gender</name>
    <mutable>False</mutable><input_type>select</input_type><default_value>__undefined__</default_value>
    <values>__undefined__\nmale\nfemale</values></attribute></attributes></label></labels></task>
    <dumped>2024-03-01 10:00:00.000000+00:00</dumped></meta>
  <image id="0" name="a.jpg" width="40" height="30">
    <box label="face" source="manual" occluded="1" xtl="1.00" ytl="2.00" xbr="11.00" ybr="22.00" z_order="0">
      <attribute name="gender">female</attribute><attribute name="age">31</attribute>
    </box>
    <box label="face" source="manual" occluded="0" xtl="20.00" ytl="2.00" xbr="30.00" ybr="22.00" z_order="0">
      <attribute name="gender">__undefined__</attribute>
    </box>
  </image>
  <image id="1" name="sub/b.jpg" width="40" height="30">
    <tag label="face" source="manual"><attribute name="gender">male</attribute></tag>
  </image>
  <image id="2" name="c.jpg" width="40" height="30"></image>
</annotations>"""


def labelme(*shapes, path="a.jpg", flags=None, **more):
    document = {"version": "5.4.1", "flags": flags or {}, "shapes": list(shapes), "imagePath": path, "imageData": None}
    return json.dumps(document | {"imageHeight": 30, "imageWidth": 40} | more, ensure_ascii=False).encode()


def shape(label="happy", points=((1, 2), (11, 22)), kind="rectangle", **more):
    return {
        "label": label,
        "points": [list(p) if isinstance(p, tuple) else p for p in points],
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    } | more


VERSION_3 = b"""{"version": "3.16.2", "flags": {}, "shapes": [{"label": "happy", "line_color": null, "fill_color": null,
"points": [[1, 2], [11, 2], [11, 22]]}], "lineColor": [0, 255, 0, 128], "fillColor": [255, 0, 0, 128],
"imagePath": "..\\\\photos\\\\a.jpg", "imageData": "/9j/4AAQ"}"""


UPLOAD = "/data/upload/1/1a2b3c4d-a.jpg"


def region(label="happy", name="r1", x=10, y=20, width=30, height=40, kind="rectanglelabels", control="label", **more):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0} | more
    if label is not None:
        value[kind] = [label] if isinstance(label, str) else label
    return {
        "id": name,
        "type": kind,
        "from_name": control,
        "to_name": "image",
        "origin": "manual",
        "value": value,
        "original_width": 40,
        "original_height": 30,
        "image_rotation": 0,
    }


def choice(text, control="choice", name="c1", **value):
    value = {"choices": [text] if isinstance(text, str) else text} | value
    return {"id": name, "type": "choices", "from_name": control, "to_name": "image", "value": value}


def annotation(*result, **more):
    return {
        "id": 9,
        "completed_by": 1,
        "result": list(result),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2024-01-01T00:00:00Z",
        "lead_time": 3.1,
        "prediction": {},
        "result_count": 0,
    } | more


def task(*annotations, image=UPLOAD, **more):
    return {
        "id": 1,
        "annotations": list(annotations),
        "file_upload": "1a2b3c4d-a.jpg",
        "drafts": [],
        "predictions": [{"result": [region("wrong")]}],
        "data": {"image": image},
        "meta": {},
        "project": 1,
    } | more


def export(*tasks):
    return json.dumps(list(tasks), ensure_ascii=False).encode()


MIN_ROW = {
    "image": UPLOAD,
    "id": 1,
    "annotator": 1,
    "annotation_id": 9,
    "created_at": "2024",
    "updated_at": "2024",
    "lead_time": 3.1,
}
