using BenchmarkDotNet.Running;
using Qcow2Bitmaps.Benchmarks.Reporting;

BenchmarkSwitcher.FromAssembly(typeof(ShortConfig).Assembly).Run(args, ShortConfig.Create());
return 0;
