from dotenv import dotenv_values
from evalscope.perf.arguments import Arguments
from evalscope.perf.main import run_perf_benchmark

env = dotenv_values('.env')

args = Arguments(
    model='your-model',
    url='https://your-endpoint',
    api_key=env.get('YOUR_API_KEY'),
    api='custom',     # Use the above registered plugin
    dataset='openqa',
    number=1,
    max_tokens=16,
    stream=True,      # If streaming is supported
    debug=True,
)

run_perf_benchmark(args)
