"""Part `kernels` of the GPU suite: time of every kernel, and of every op of a training step."""
import suite_bench


def run_kernels(suite, result):
    """Google Benchmark's own file goes to --out; the report keeps one line a kernel."""
    result.update(suite_bench.run_bench(suite, suite.out / "kernels.json", suite.left()))
    suite.say(f"{len(result['kernels'])} kernels timed, copy and product measured: {result['context']}")
