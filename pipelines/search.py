"""The search pipeline: tries configurations of the training, registers the model of the best one. Wiring only.

A search goes in rounds: suggest looks at what the rounds before have reached and chooses the next trials, which train
side by side. A trial that fails is an outcome like any other, see `components.train_classifier.trial`.
"""

from functools import partial
from typing import Any

from kfp import dsl

from components.search.component import leaderboard, suggest
from components.search.suggest import ROUNDS
from components.train_classifier.component import train_classifier
from pipelines import resources
from pipelines.parts import prepare, publish
from pipelines.search_parameters import SearchConfig

SIDE_BY_SIDE = 5
"""How many trials train at a time on a cluster."""

_DEFAULT = SearchConfig()


def search_pipeline(site: resources.Site) -> Any:
    """The pipeline with the resources that a site gives to its tasks, ready to be compiled."""

    @dsl.pipeline(name="search")
    def search(
        source: str = _DEFAULT.source,
        format: str = _DEFAULT.format,  # noqa: A002
        label_space: str = _DEFAULT.label_space,
        space: dict[str, Any] = _DEFAULT.space,
        method: str = _DEFAULT.method,
        trials: int = _DEFAULT.trials,
        model: str = _DEFAULT.model,
        epochs: int = _DEFAULT.epochs,
        batch_size: int = _DEFAULT.batch_size,
        learning_rate: float = _DEFAULT.learning_rate,
        image_height: int = _DEFAULT.image_height,
        image_width: int = _DEFAULT.image_width,
        seed: int = _DEFAULT.seed,
        val_ratio: float = _DEFAULT.val_ratio,
        test_ratio: float = _DEFAULT.test_ratio,
        model_name: str = _DEFAULT.model_name,
        checkpoint: str = _DEFAULT.checkpoint,
        floors: dict[str, float] = _DEFAULT.floors,
        training: dict[str, Any] = _DEFAULT.training,
        ingest_options: dict[str, Any] = _DEFAULT.ingest_options,
        curation: list[dict[str, Any]] = _DEFAULT.curation,
        split_options: dict[str, Any] = _DEFAULT.split_options,
        source_digest: str = _DEFAULT.source_digest,
        gpus: str = _DEFAULT.gpus,
        storage_secret: str = _DEFAULT.storage_secret,
    ) -> None:
        """Try configurations of the training, judge the best one on people it has never seen, and register its model.

        Args:
            source: Where the raw photos are: s3://bucket/prefix, or a folder that the ingest step can read.
            format: Their layout: profile, aihub, class_folder, manifest, coco, yolo or evaluation.
            label_space: What to predict: mask, gender, age, gender_age, mask_gender_age, all, emotion, heads side by
                side as gender+age, or a list of classes as attribute:class_a,class_b.
            space: What is searched: by dotted path of an entry of the training, a list of values, or
                {uniform | loguniform | int: [low, high]}.
            method: How trials are chosen: tpe learns from the ones before, random does not, grid tries all.
            trials: How many trials there are, at most 100; no combination is tried twice.
            model: The network: a preset such as EfficientNetB3MSD, a torchvision classifier, small_resnet or poster_v2.
            epochs: How often every training face is seen in a trial.
            batch_size: Faces in a training step.
            learning_rate: Peak of the learning rate.
            image_height: Height of the network's input in pixels.
            image_width: Width of the network's input in pixels.
            seed: Start of every random draw: of the split, of every training and of the search.
            val_ratio: Share of the images that judge the trials.
            test_ratio: Share of the images that judge the model of the best trial.
            model_name: Name in the model registry, and of the served model.
            checkpoint: Which checkpoint becomes the model: best, best_f1 or best_acc.
            floors: Lowest accepted value by metric, such as macro_f1; only a model that holds all of them becomes the
                champion.
            training: Further options of the training, such as scheduler, ema_decay or augment; the trials are laid over
                them and over the parameters above.
            ingest_options: Options of the layout, such as max_dropped, or manifest and rename.
            curation: What is done to the annotations before the split, in order: sample, corrections, drop_ages, merge,
                sync, drop.
            split_options: How the split is made: mode (person or lists) and its options.
            source_digest: Digest of the source's listing, filled in at submission: a changed source is read anew.
            gpus: How many GPUs each training gets, a whole number; 0 for none.
            storage_secret: Kubernetes Secret with the addresses and keys of S3 and MLflow; a name, never empty.
        """
        equip = partial(resources.equip, site=site, gpus=gpus, storage_secret=storage_secret)

        images, annotations = prepare(
            equip,
            source=source,
            format=format,
            ingest_options=ingest_options,
            source_digest=source_digest,
            curation=curation,
            label_space=label_space,
            val_ratio=val_ratio,
            test_ratio=test_ratio,
            seed=seed,
            split_options=split_options,
        )

        def train(trial: Any, title: str) -> dsl.PipelineTask:
            task = train_classifier(
                images=images,
                annotations=annotations,
                label_space=label_space,
                model=model,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                image_height=image_height,
                image_width=image_width,
                seed=seed,
                config=training,
                trial=trial,
            )
            return equip(task, "train", title)

        known: dict[str, Any] = {}
        for number in range(ROUNDS):
            suggested = equip(
                suggest(space=space, method=method, trials=trials, seed=seed, round_index=number, **known),
                "evaluate",
                f"Choose the trials of round {number + 1}",
            )
            with dsl.ParallelFor(
                suggested.outputs["Output"], name=f"round-{number + 1}", parallelism=SIDE_BY_SIDE
            ) as trial:
                tried = train(trial, "Train a trial")
            known = {"past": suggested.outputs["past"], "outcomes": dsl.Collected(tried.outputs["outcome"])}

        ranked = equip(
            leaderboard(space=space, method=method, seed=seed, label_space=label_space, **known),
            "evaluate",
            "Rank the trials",
        )

        # The same inputs as those of the best trial: a cluster takes its outputs from the cache.
        trained = train(ranked.outputs["best"], "Train the best configuration")
        publish(
            equip,
            trained=trained,
            images=images,
            annotations=annotations,
            model_name=model_name,
            checkpoint=checkpoint,
            floors=floors,
        )

    return search
