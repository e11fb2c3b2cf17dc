"""The commands of EvalScope's documentation of `evalscope perf`, and what comes of them here.

URL, TOKENIZER and FOLDER stand for places; everything else is as documented.
"""

CHAT = "--url URL/v1/chat/completions"
RANDOM = (
    "--dataset random --prefix-length 0 --min-prompt-length 1024 --max-prompt-length 1024 --tokenizer-path TOKENIZER"
)
OPENQA = f"{CHAT} --parallel 2 --model qwen2.5 --log-every-n-query 10 --number 20 --api openai --dataset openqa"
TIMEOUTS = "--read-timeout 120 --connect-timeout 120 --max-prompt-length 128000 --min-prompt-length 128"
TURNS = f"--model m {CHAT} --api openai --max-tokens 512 --multi-turn"
TEMPLATE = (
    """'{"model": "%m", "messages": [{"role": "user","content": "%p"}], "stream": true, "skip_special_tokens": false,"""
    """ "stop": ["<|im_end|>"], "temperature": 0.7, "max_tokens": 1024}'"""
)

RUN = {
    "quick start": f"--parallel 1 10 50 100 200 --number 10 20 100 200 400 --model Qwen2.5-0.5B-Instruct {CHAT} --api openai"
    f" {RANDOM} --max-tokens 1024 --min-tokens 1024 --extra-args '{{\"ignore_eos\": true}}'",
    "a fixed prompt": f"{CHAT} --parallel 2 --model qwen2.5 --log-every-n-query 10 --number 20 --api openai --temperature 0.9"
    " --max-tokens 1024 --prompt 'Write a science fiction story, please begin your performance'",
    "a prompt of a file": f"{CHAT} --parallel 2 --model qwen2.5 --number 20 --api openai --max-tokens 1024 --prompt @FOLDER/prompt.txt",
    "complex requests": f"{OPENQA} {TIMEOUTS} --temperature 0.7 --max-tokens 1024 --stop '<|im_end|>' --stream",
    "a template": f"{OPENQA} {TIMEOUTS} --query-template {TEMPLATE}",
    "a template of a file": f"{OPENQA} {TIMEOUTS} --query-template @FOLDER/template.json",
    "random": f"--parallel 20 --model Qwen2.5-0.5B-Instruct {CHAT} --api openai --dataset random --min-tokens 128 --max-tokens 128"
    " --prefix-length 64 --min-prompt-length 1024 --max-prompt-length 2048 --number 100 --tokenizer-path TOKENIZER --debug",
    "random token ids": f"--parallel 20 --model q {CHAT} --api openai --dataset random --max-tokens 128 --min-prompt-length 1024"
    " --max-prompt-length 2048 --number 100 --tokenizer-path TOKENIZER --tokenize-prompt",
    "prefixes": f"--parallel 4 --model q {CHAT} --dataset random --prefix-length 64 --prefix-count 4 --min-prompt-length 64"
    " --max-prompt-length 64 --number 16 --tokenizer-path TOKENIZER",
    "random pictures": f"--parallel 20 --model Qwen2.5-VL-3B-Instruct {CHAT} --api openai --dataset random_vl --min-tokens 128"
    " --max-tokens 128 --prefix-length 0 --min-prompt-length 100 --max-prompt-length 100 --image-width 512 --image-height 512"
    " --image-format RGB --image-num 1 --number 100 --tokenizer-path TOKENIZER --debug",
    "embedding": "--parallel 2 --number 10 --model text-embedding-v4 --url URL/v1/embeddings --api-key sk-1 --api openai_embedding"
    " --dataset random_embedding --min-prompt-length 256 --max-prompt-length 256 --tokenizer-path TOKENIZER",
    "rerank": "--parallel 2 --number 10 --model qwen3-rerank --url URL/v1/rerank --api-key sk-1 --api openai_rerank"
    " --dataset random_rerank --min-prompt-length 256 --max-prompt-length 256 --tokenizer-path TOKENIZER"
    """ --extra-args '{"num_documents": 5, "document_length_ratio": 3}'""",
    "warm-up by number": f"{CHAT} --parallel 10 --model qwen2.5 --number 100 --warmup-num 10 --api openai --dataset openqa --stream",
    "warm-up by share": f"{CHAT} --parallel 10 --model qwen2.5 --number 100 --warmup-num 0.1 --api openai --dataset openqa --stream",
    "open loop": f"{CHAT} --model qwen2.5 --api openai --dataset openqa --open-loop --rate 5 10 20 --number 500 1000 2000"
    " --max-tokens 1024 --stream",
    "visualizer": f"{OPENQA} --visualizer wandb --name name_of_wandb_log",
    "swanlab": f"{OPENQA} --visualizer swanlab --name name_of_swanlab_log --swanlab-api-key local",
    "speed benchmark": "--parallel 1 --url URL/v1/completions --model qwen2.5 --number 8 --log-every-n-query 5"
    " --connect-timeout 6000 --read-timeout 6000 --max-tokens 2048 --min-tokens 2048 --api openai --dataset speed_benchmark --debug",
    "random conversations": f"{TURNS} --tokenizer-path TOKENIZER --dataset random_multi_turn --min-prompt-length 256"
    " --max-prompt-length 512 --min-turns 2 --max-turns 5 --number 20 --parallel 10",
    "conversations of ShareGPT": f"{TURNS} --dataset share_gpt_zh_multi_turn --dataset-path FOLDER/common_en_70k.jsonl"
    " --max-turns 3 --number 300 --parallel 10",
    "own conversations": f"{TURNS} --dataset custom_multi_turn --dataset-path FOLDER/talks.jsonl --max-turns 3 --number 100 --parallel 10",
    "prebuilt agents": f"{TURNS} --dataset swe_smith --dataset-path FOLDER/agentic_dataset.json --dataset-offset 1 --number 200 --parallel 20",
    "built agents": f"{TURNS} --dataset swe_smith --dataset-path FOLDER/trajectories.jsonl --tokenizer-path TOKENIZER --min-tokens 512"
    """ --dataset-args '{"first_turn_length": 4, "subsequent_turn_length": 2}' --min-turns 1 --max-turns 2 --seed 42"""
    """ --number 10 20 --parallel 5 10 --extra-args '{"ignore_eos": true}'""",
    "agents' traces": f"--model qwen-plus {CHAT} --api-key sk-1 --api openai --dataset trie_office_work --dataset-path FOLDER/trie.jsonl"
    " --multi-turn --parallel 4 --number 10 --duration 600 --tokenizer-path TOKENIZER"
    " --extra-args '{\"ignore_eos\": true}' --stream",
    "several pictures": f"--model your-vl-model {CHAT} --dataset mmmu_multi_image --dataset-path FOLDER/mmmu.jsonl"
    """ --dataset-args '{"subset":"Music","min_images":2}' --parallel 4 --number 100""",
    "pictures of one's own": f"--model your-vl-model {CHAT} --dataset line_by_line --dataset-path FOLDER/multi_image.jsonl --parallel 4"
    " --number 100",
    "length of real text": f"--model m {CHAT} --dataset openqa --tokenizer-path TOKENIZER --number 10 --dataset-args"
    """ '{"target_input_len": 2048, "input_len_mode": "cap"}'""",
    "older options": f"{TURNS} --dataset swe_smith --dataset-path FOLDER/trajectories.jsonl --number 4 --multi-turn-args"
    """ '{"first_turn_length": 4, "subsequent_turn_length": 2, "chars_per_token": 3.0}'""",
}
"""Commands that run."""

TRACES = {
    "traffic": f"--dataset workload_trace --dataset-path FOLDER/trace.jsonl {CHAT} --open-loop",
    "traffic at another speed": f"--dataset workload_trace --dataset-path FOLDER/trace.jsonl {CHAT} --open-loop --dataset-args"
    """ '{"speed": 2.0, "model_mapping": {"gpt-4": "qwen-max"}, "match_output_length": true}'""",
    "the first of the traffic": f"--dataset workload_trace --dataset-path FOLDER/trace.jsonl {CHAT} --open-loop --number 2",
}
"""Commands whose dataset says when to send, so that they have no rate."""

REFUSED = {
    "transformers": (
        "--model Qwen/Qwen2.5-0.5B-Instruct --attn-implementation flash_attention_2 --number 20 --parallel 2 --api local"
        " --dataset openqa",
        "vllm serve Qwen/Qwen2.5-0.5B-Instruct",
    ),
    "vllm": (
        "--model Qwen/Qwen2.5-0.5B-Instruct --number 20 --parallel 2 --api local_vllm --dataset openqa",
        "--url http://127.0.0.1:8877/v1/chat/completions",
    ),
    "speed by transformers": (
        "--parallel 1 --model Qwen/Qwen2.5-0.5B-Instruct --number 8 --attn-implementation flash_attention_2 --log-every-n-query 5"
        " --connect-timeout 6000 --read-timeout 6000 --max-tokens 2048 --min-tokens 2048 --api local --dataset speed_benchmark --debug",
        "perfbench starts no model",
    ),
    "speed by vllm": (
        "--parallel 1 --number 8 --model Qwen/Qwen2.5-0.5B-Instruct --max-tokens 2048 --min-tokens 2048 --api local_vllm"
        " --dataset speed_benchmark",
        "perfbench starts no model",
    ),
    "most parallel": (
        f"--model m {CHAT} --api openai {RANDOM} --max-tokens 1024 --sla-auto-tune --sla-variable parallel"
        """ --sla-params '[{"p99_latency": "<=2"}]' --parallel 2 --sla-upper-bound 64""",
        "--sla-",
    ),
    "most tokens": (
        f"--model m {CHAT} --api openai {RANDOM} --sla-auto-tune --sla-variable parallel"
        """ --sla-params '[{"tps": "max"}]' --parallel 4""",
        "--search-concurrency 1:64",
    ),
    "highest rate": (
        f"--model m {CHAT} --api openai {RANDOM} --sla-auto-tune --sla-variable rate"
        """ --sla-params '[{"p99_ttft": "<0.05"}, {"p99_ttft": "<0.01"}]' --rate 2 --sla-num-runs 1 --sla-fixed-parallel 40"""
        " --sla-lower-bound 10 --sla-upper-bound 40",
        "--sla-",
    ),
    "agentx": (f"--model m {CHAT} --scenario agentx", "trie_agentic_coding"),
    "hand-offs": (f"{OPENQA} --enable-pd-metrics", "inter_token_latencies"),
}
"""Commands that are refused, and words of the way out."""

MORE_FILES = {
    "prompt.txt": "Write a story.",
    "multi_image.jsonl": '[{"role":"user","content":[{"type":"text","text":"Compare image 1 and image 2."},'
    '{"type":"image_url","image_url":{"url":"https://example.com/image-1.jpg"}},'
    '{"type":"image_url","image_url":{"url":"https://example.com/image-2.jpg"}}]}]\n',
    "mmmu.jsonl": '{"question": "<image 1> or <image 2>?", "image_1": "https://h/1.png", "image_2": "https://h/2.png"}\n',
    "agentic_dataset.json": '{"conversations": [[{"messages": [{"role": "user", "content": "a"}], "prompt_tokens": 1}],'
    ' [{"messages": [{"role": "user", "content": "b"}], "prompt_tokens": 1}]]}',
    "trajectories.jsonl": '{"messages": [{"role": "user", "content": "please mend the mill by the river today"},'
    ' {"role": "tool", "content": "done, the mill runs again and the river too"}]}\n',
}
