"""The figures that the validation of ultralytics computes for found boxes."""

from collections.abc import Sequence

import numpy as np

from components.shared.metrics.matching import PhotoBoxes


def ultralytics_scores(photos: Sequence[PhotoBoxes], labels: int) -> tuple[float, float]:
    """mAP50 and mAP50-95 as the validation of ultralytics computes them: its matching, its `ap_per_class`."""
    import torch
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.utils.metrics import DetMetrics, box_iou

    validator = BaseValidator.__new__(BaseValidator)
    validator.iouv = torch.linspace(0.5, 0.95, 10)
    metrics = DetMetrics(dict(enumerate(map(str, range(labels)))))
    for number, one in enumerate(photos):
        order = np.argsort(-one.scores, kind="stable")
        boxes = [torch.from_numpy(np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], axis=1))
                 for b in (one.truths, one.found[order])]  # fmt: skip
        classes = [torch.from_numpy(np.asarray(k)) for k in (one.truth_labels, one.found_labels[order])]
        right = np.zeros((len(order), 10), bool)
        if len(one.truths) and len(order):
            right = validator.match_predictions(classes[1], classes[0], box_iou(*boxes)).numpy()
        metrics.update_stats(
            {
                "tp": right,
                "conf": one.scores[order],
                "pred_cls": one.found_labels[order],
                "target_cls": one.truth_labels,
                "target_img": np.unique(one.truth_labels),
                "im_name": f"{number}.jpg",
            }
        )
    metrics.process()
    return float(metrics.box.map50), float(metrics.box.map)
