"""The schedules of "World Model on Million-Length Video And Language With Blockwise RingAttention".

Liu, Yan, Zaharia, Abbeel, arXiv 2402.08268 v4, tables 11 (text), 12 (text chat) and 13 (vision and language). Data
only: each figure says whether it was confirmed. Names of tables differ between versions of the paper.
"""

from lwm_stages.published import MI, PublishedStage, confirmed, derived, recalled


def _text(label, power, theta, stated, steps, warmup, mesh, documents, count, init_from, hours) -> PublishedStage:
    span = "-".join("up" if n is None else "1m" if n == 1_000_000 else f"{n // 1000}k" for n in documents)
    return PublishedStage(
        name=f"lwm-text-{label}",
        init_from=confirmed(init_from),
        precision=confirmed("float32"),
        sequence_length=confirmed(2**power),
        rope_theta=confirmed(theta, "table 11; from 128K on also in the README of the released code"),
        tokens_per_batch=confirmed(4 * MI, "stated as 4M; 2^22 is the reading with whole rows"),
        total_tokens=confirmed(int(stated), "rounded: about steps times 4,000,000"),
        steps=confirmed(steps),
        schedule=confirmed("constant"),
        warmup_steps=confirmed(warmup),
        learning_rate=confirmed(4e-5),
        min_learning_rate=derived(4e-5, "constant; the released code runs its cosine with both ends equal"),
        mesh=confirmed(mesh),
        devices=derived(256, "v4-512 is 256 chips, and each is one JAX device"),
        documents=confirmed(documents, "of Books3; model cards"),
        document_count=confirmed(count, "model cards"),
        mixture=confirmed({f"books-{span}": 1.0}, "Books3, documents of that many tokens; the name is ours"),
        hours=recalled(hours, 80, "v1; 58 h over 450 steps agrees with the 7 minutes a step that are confirmed"),
    )


LWM_TEXT = (
    _text("32k", 15, 1e6, 4.8e9, 1200, 100, (1, -1, 4, 1), (10_000, 100_000), 78_000, "LLaMA-2 7B", 8),
    _text("128k", 17, 1e7, 12e9, 3000, 200, (1, -1, 8, 1), (100_000, 200_000), 92_000, "lwm-text-32k", 45),
    _text("256k", 18, 1e7, 12e9, 3000, 200, (1, -1, 16, 1), (200_000, 500_000), 37_000, "lwm-text-128k", 83),
    _text("512k", 19, 2.5e7, 3e9, 720, 50, (1, -1, 16, 2), (500_000, 1_000_000), 3_500, "lwm-text-256k", 47),
    _text("1m", 20, 5e7, 1.8e9, 450, 25, (1, -1, 16, 4), (1_000_000, None), 800, "lwm-text-512k", 58),
)


def _chat(label, power, theta, mesh) -> PublishedStage:
    return PublishedStage(
        name=f"lwm-text-chat-{label}",
        init_from=recalled(f"lwm-text-{label}", 90, "not from one chat model to the next"),
        sequence_length=confirmed(2**power, "README of the released code"),
        rope_theta=confirmed(theta, "README of the released code"),
        tokens_per_batch=recalled(4 * MI, 75, "stated as 4M, read as 2^22"),
        total_tokens=recalled(1_200_000_000, 75, "rounded: steps times 4,000,000"),
        steps=recalled(300, 75),
        schedule=recalled("constant", 70),
        warmup_steps=recalled(25, 70),
        learning_rate=recalled(4e-5, 70),
        min_learning_rate=recalled(4e-5, 70, "constant"),
        mesh=recalled(mesh, 45, "that of the text stage of this length"),
        devices=recalled(256, 45, "v4-512"),
        mixture=confirmed(
            {"ultrachat": 0.7, f"book-qa-{label}": 0.3},
            "about 7:3; a row is all UltraChat, packed to its length, or all questions and answers",
        ),
    )


LWM_TEXT_CHAT = (
    _chat("128k", 17, 1e7, (1, -1, 8, 1)),
    _chat("256k", 18, 1e7, (1, -1, 16, 1)),
    _chat("512k", 19, 2.5e7, (1, -1, 16, 2)),
    _chat("1m", 20, 5e7, (1, -1, 16, 4)),
)


def _vision(name, power, stated, steps, warmup, rates, mesh, mixture, init_from, hours, count=None) -> PublishedStage:
    high, low = rates
    return PublishedStage(
        name=name,
        init_from=confirmed(init_from),
        precision=confirmed("float32"),
        sequence_length=confirmed(2**power),
        rope_theta=confirmed(5e7),
        tokens_per_batch=confirmed(8 * MI, "stated as 8M; 2^23 is the reading with whole rows"),
        total_tokens=confirmed(int(stated), "rounded: 4 to 10% under steps times 2^23"),
        steps=confirmed(steps),
        schedule=confirmed("cosine"),
        warmup_steps=confirmed(warmup),
        learning_rate=confirmed(high),
        min_learning_rate=confirmed(low),
        mesh=confirmed(mesh),
        devices=derived(512, "v4-1024 is 512 chips, and each is one JAX device"),
        mixture=mixture,
        document_count=count,
        hours=recalled(hours, 75, "v1"),
        modalities=("text", "vision"),
    )


_IMAGES = confirmed(
    {"openllama": 0.16, "image-text": 0.84},
    "16% pure text, of OpenLLaMA's data; the rest LAION-2B-en and COYO-700M, whose split is not known",
)
_VIDEOS = recalled(
    {"openllama": 0.16, "image-text": 0.42, "video-text": 0.42},
    85,
    "images and videos 50/50; that 16% is pure text is confirmed, and so are WebVid10M and part of InternVid10M",
)
_CHAT = confirmed(
    {"text-to-image": 0.25, "image-understanding": 0.25, "text-to-video": 0.25, "video-understanding": 0.25},
    "25% of each batch to each",
)
_PRETRAINING, _TUNING = (6e-4, 6e-5), (8e-5, 8e-5)

LWM_VISION = (
    _vision(
        "lwm-1k", 10, 363e9, 45_000, 1000, _PRETRAINING, (1, -1, 1, 1), _IMAGES, "lwm-text-1m", 83,
        confirmed(1_000_000_000, "about 1B pairs, 400B tokens"),
    ),
    _vision(
        "lwm-8k", 13, 107e9, 14_000, 500, _PRETRAINING, (1, -1, 1, 1), _VIDEOS, "lwm-1k", 32,
        confirmed(13_000_000, "videos, 90B tokens; 30 frames each at 4 a second"),
    ),
    _vision("lwm-chat-32k", 15, 10e9, 1200, 100, _TUNING, (1, -1, 4, 1), _CHAT, "lwm-8k", 10),
    _vision("lwm-chat-128k", 17, 3.5e9, 450, 50, _TUNING, (1, -1, 8, 1), _CHAT, "lwm-chat-32k", 6),
    _vision("lwm-chat-1m", 20, 0.4e9, 50, 5, _TUNING, (1, -1, 16, 4), _CHAT, "lwm-chat-128k", 8),
)  # fmt: skip
