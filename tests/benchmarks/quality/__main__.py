from tests.benchmarks.quality.run import main

main()
