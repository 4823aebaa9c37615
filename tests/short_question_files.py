"""BLEnD's short questions, their answers and wordings, small."""

import json

ROWS = {
    "A-1": {
        "question": "¿Qué se bebe?",
        "en_question": "What is drunk?",
        "annotations": [
            {"answers": ["vino", "Vino "], "en_answers": ["wine"], "count": 2},
            {"answers": ["agua"], "en_answers": ["water"], "count": 1},
        ],
        "idks": {},
    },
    "A-2": {"question": "¿Y qué se come?", "en_question": "And eaten?", "annotations": []},
    "A-3": {"question": " ", "en_question": "?", "annotations": [{"answers": ["x"]}]},
}


def folder(tmp_path, rows=ROWS, prompts=True):
    for name in ("annotations", "prompts"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "annotations" / "Spain_data.json").write_text(json.dumps(rows), encoding="utf-8")
    if prompts:
        text = 'id,English,Translation\ninst-1,"Question: {q}?\nAnswer:","Pregunta: {q}?\nRespuesta:"\n'
        (tmp_path / "prompts" / "Spain_prompts.csv").write_text(text, encoding="utf-8")
    return tmp_path
