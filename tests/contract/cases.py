"""The cases of the contract: a plugin file each, the fields of Arguments it is run with, and files that it reads."""

import json

CHAT = "/v1/chat/completions"
LINES = "one\n  two words \n\nthree little words\n"
TRACE = [
    {
        "body": {"model": "a", "messages": [{"role": "user", "content": "first"}], "max_tokens": 3, "stream": True},
        "timestamp": 10.0,
        "request_id": "r-1",
    },
    {
        "body": {"model": "b", "messages": [{"role": "user", "content": "second"}], "max_tokens": 4, "stream": True},
        "timestamp": 11.5,
        "headers": {"X-Trace": "t-2", "Host": "elsewhere"},
    },
    {"body": {"model": "a", "messages": [{"role": "user", "content": "third"}], "max_tokens": 2}, "timestamp": 10.6},
]
TALKS = [
    [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "b"},
    ],
    [{"role": "user", "content": "c"}],
]
SHARE = [
    {
        "conversation": [
            {"human": "who are you", "assistant": "me"},
            {"human": "and what do you do all day", "assistant": "talk"},
        ]
    }
]
RERANK = [{"query": "q1", "documents": ["d1", "d2"]}, {"query": "q2", "documents": ["d3"]}]
TRIE = [
    {
        "input_prompt_length": 6,
        "num_turns": 1,
        "assistant_response_length": [3],
        "tool_call_output_length": [4],
        "tool_call_latency": [0.05],
        "final_assistant_response_length": 2,
    }
]
FILES = {
    "lines.txt": LINES,
    "list.json": json.dumps([{"instruction": "explain tides"}, {"instruction": "explain moss"}]),
    "questions.jsonl": '{"question": "why is the sky blue"}\n{"question": "what is moss"}\n',
    "bodies.jsonl": '{"messages": [{"role": "user", "content": "whole"}], "stream": false, "max_tokens": 3}\n'
    '{"messages": [{"role": "user", "content": "streamed"}], "stream": true, "temperature": 0.5}\n'
    '[{"role": "user", "content": "an array"}]\n'
    "plain text\n",
    "trace.jsonl": "".join(json.dumps(line) + "\n" for line in TRACE),
    "talks.jsonl": "".join(json.dumps(line) + "\n" for line in TALKS),
    "common_en_70k.jsonl": "".join(json.dumps(line) + "\n" for line in SHARE),
    "rerank.jsonl": "".join(json.dumps(line) + "\n" for line in RERANK),
    "trie.jsonl": "".join(json.dumps(line) + "\n" for line in TRIE),
    "prefix.txt": "the river runs past the old mill and ",
    "template.json": '{"messages": [], "top_k": 3, "user": "me", "max_tokens": 99}',
}

CASES = {
    # APIs
    "own_stream": {"plugin": "own_stream", "api": "own_stream", "url": "/odd"},
    "own_aiohttp_stamps": {"plugin": "own_aiohttp_stamps", "api": "own_aiohttp_stamps"},
    "own_aiohttp_plain": {"plugin": "own_aiohttp_plain", "api": "own_aiohttp_plain", "stream": False},
    "wrapped_default": {"plugin": "wrapped_default", "api": "wrapped_default", "headers": {"X-Mine": "yes"}},
    "default_api": {"plugin": "default_api", "api": "default_mine", "api_key": "sk-1"},
    "default_api_plain": {"plugin": "default_api", "api": "default_mine", "stream": False},
    "openai_subclass": {"plugin": "openai_subclass", "api": "openai_subclass", "extra_args": {"top_k": 4}},
    "openai_no_usage": {"plugin": "openai_no_usage", "api": "openai_no_usage", "tokenizer_path": "TOKENIZER"},
    "custom_subclass": {"plugin": "custom_subclass", "api": "custom_subclass", "url": "/v1/completions"},
    "embedding_subclass": {
        "plugin": "embedding_subclass",
        "api": "my_embedding",
        "dataset": "embedding",
        "dataset_path": "lines.txt",
        "url": "/v1/embeddings",
    },
    "rerank_subclass": {
        "plugin": "rerank_subclass",
        "api": "my_rerank",
        "dataset": "my_rerank",
        "dataset_path": "rerank.jsonl",
        "url": "/v1/rerank",
    },
    "responses_subclass": {"plugin": "responses_subclass", "api": "my_responses", "url": "/v1/responses"},
    # datasets
    "lines_dataset": {
        "plugin": "lines_dataset",
        "dataset": "my_lines",
        "dataset_path": "lines.txt",
        "max_prompt_length": 12,
    },
    "multimodal_dataset": {"plugin": "multimodal_dataset", "dataset": "my_images"},
    "turns_dataset": {
        "plugin": "turns_dataset",
        "dataset": "my_turns",
        "multi_turn": True,
        "number": 2,
        "max_turns": 3,
    },
    "arrivals_dataset": {
        "plugin": "arrivals_dataset",
        "dataset": "my_arrivals",
        "open_loop": True,
        "rate": 20.0,
        "number": 4,
    },
    "warmup_dataset": {
        "plugin": "warmup_dataset",
        "dataset": "my_warmup",
        "open_loop": True,
        "rate": 20.0,
        "number": 4,
    },
    "meta_dataset": {"plugin": "meta_dataset", "dataset": "my_meta", "number": 3, "headers": {"X-Mine": "wins"}},
    "tokenizer_dataset": {
        "plugin": "tokenizer_dataset",
        "dataset": "my_tokens",
        "tokenizer_path": "TOKENIZER",
        "number": 15,
    },
    "hub_file_dataset": {"plugin": "hub_file_dataset", "dataset": "my_hub_file", "dataset_path": "list.json"},
    "hub_rows_dataset": {"plugin": "hub_rows_dataset", "dataset": "my_hub_rows", "dataset_path": "rows"},
    "fitted_dataset": {
        "plugin": "fitted_dataset",
        "dataset": "my_fitted",
        "tokenizer_path": "TOKENIZER",
        "dataset_args": {"target_input_len": 24, "prefix_file": "prefix.txt", "shout": True},
    },
    "numbers_dataset": {"plugin": "numbers_dataset", "dataset": "my_numbers", "number": 4, "warmup_num": 0},
    "openqa_subclass": {"plugin": "openqa_subclass", "dataset": "my_openqa", "dataset_path": "questions.jsonl"},
    "line_by_line_subclass": {
        "plugin": "line_by_line_subclass",
        "dataset": "my_line_by_line",
        "dataset_path": "bodies.jsonl",
        "number": 4,
    },
    "share_gpt_subclass": {
        "plugin": "share_gpt_subclass",
        "dataset": "my_share_gpt",
        "dataset_path": "common_en_70k.jsonl",
    },
    "custom_multi_turn_subclass": {
        "plugin": "custom_multi_turn_subclass",
        "dataset": "my_talks",
        "dataset_path": "talks.jsonl",
        "multi_turn": True,
        "number": 2,
    },
    "random_subclass": {
        "plugin": "random_subclass",
        "dataset": "my_random",
        "tokenizer_path": "TOKENIZER",
        "min_prompt_length": 30,
        "max_prompt_length": 30,
        "masked": True,
    },
    "trace_subclass": {
        "plugin": "trace_subclass",
        "dataset": "my_trace",
        "dataset_path": "trace.jsonl",
        "open_loop": True,
        "rate": 20.0,
        "number": 3,
        "model": "m",
        "dataset_args": {"model_mapping": {"b": "c"}},
    },
    "trie_subclass": {
        "plugin": "trie_subclass",
        "dataset": "my_trie",
        "dataset_path": "trie.jsonl",
        "tokenizer_path": "TOKENIZER",
        "multi_turn": True,
        "number": 2,
        "max_turns": 5,
        "masked": True,
    },
    "speed_subclass": {"plugin": "speed_subclass", "dataset": "my_speed", "url": "/v1/completions", "number": 2},
    "embedding_batch_subclass": {
        "plugin": "embedding_batch_subclass",
        "api": "embedding",
        "dataset": "my_batches",
        "dataset_path": "lines.txt",
        "url": "/v1/embeddings",
        "number": 2,
        "extra_args": {"batch_size": 2},
        "unsent": ["batch_size"],
    },
    "random_vl_subclass": {
        "plugin": "random_vl_subclass",
        "dataset": "my_pictures",
        "tokenizer_path": "TOKENIZER",
        "min_prompt_length": 20,
        "max_prompt_length": 20,
        "image_width": 32,
        "image_height": 16,
        "image_num": 2,
        "number": 2,
        "masked": True,
    },
    "random_multi_turn_subclass": {
        "plugin": "random_multi_turn_subclass",
        "dataset": "my_random_turns",
        "tokenizer_path": "TOKENIZER",
        "min_prompt_length": 20,
        "max_prompt_length": 20,
        "multi_turn": True,
        "min_turns": 3,
        "max_turns": 3,
        "number": 2,
        "masked": True,
    },
    "share_gpt_fitted": {
        "dataset": "share_gpt_en",
        "dataset_path": "common_en_70k.jsonl",
        "tokenizer_path": "TOKENIZER",
        "dataset_args": {"target_input_len": 3},
    },
    "errors": {"plugin": "default_api", "api": "default_mine", "extra_args": {"status": 503}},
    "in_stream_error": {"plugin": "default_api", "api": "default_mine", "extra_args": {"break_after": 2}},
    # arguments
    "one_token": {"dataset": "line_by_line", "dataset_path": "lines.txt", "max_tokens": 1},
    "prefixes": {
        "dataset": "random",
        "tokenizer_path": "TOKENIZER",
        "prefix_length": 8,
        "prefix_count": 2,
        "min_prompt_length": 20,
        "max_prompt_length": 20,
        "masked": True,
    },
    "multi_turn_args": {"dataset": "line_by_line", "dataset_path": "lines.txt", "multi_turn_args": {"num_workers": 2}},
    "tokenize_prompt": {
        "dataset": "line_by_line",
        "dataset_path": "lines.txt",
        "tokenizer_path": "TOKENIZER",
        "tokenize_prompt": True,
    },
    "query_template": {"dataset": "line_by_line", "dataset_path": "lines.txt", "query_template": "@template.json"},
    "no_stream": {"dataset": "openqa", "dataset_path": "questions.jsonl", "stream": False, "seed": 3, "stop": ["x"]},
    "fixed_prompt": {"prompt": "say hi", "url": "/v1/completions"},
}
"""Case: plugin file, and fields of Arguments; `masked` where prompts are random."""


def prepare(case, url, tokenizer, folder):
    """The files of a case in its folder, and its fields of Arguments with real places in them."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    rows = folder / "rows"
    rows.mkdir()
    (rows / "train.jsonl").write_text('{"text": "row one"}\n{"text": "row two"}\n')
    values = {name: value for name, value in case.items() if name not in ("plugin", "masked", "unsent")}
    values["url"] = url + values.get("url", CHAT)
    if "tokenizer_path" in values:
        values["tokenizer_path"] = str(tokenizer)
    if "dataset_path" not in values and "dataset" not in values and "prompt" not in values:
        values |= {"dataset": "openqa", "dataset_path": "questions.jsonl"}
    return values
