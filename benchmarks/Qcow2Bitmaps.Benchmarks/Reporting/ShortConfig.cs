using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Perfolizer.Horology;
using Perfolizer.Metrology;

namespace Qcow2Bitmaps.Benchmarks.Reporting;

/// <summary>How all suites run: a few short iterations in this process, with bytes per second and allocated bytes.</summary>
internal static class ShortConfig
{
    private const int Warmups = 4;
    private const int Iterations = 10;
    private const int IterationMilliseconds = 200;

    public static IConfig Create() => DefaultConfig.Instance
        // In this process: no project is generated and built for each run, and no runtime has to be named.
        .AddJob(Job.Default
            .WithToolchain(InProcessEmitToolchain.Instance)
            .WithWarmupCount(Warmups)
            .WithIterationCount(Iterations)
            .WithIterationTime(TimeInterval.FromMilliseconds(IterationMilliseconds))
            .AsDefault())
        .AddDiagnoser(new MemoryDiagnoser(new MemoryDiagnoserConfig(displayGenColumns: false)))
        .AddColumn(StatisticColumn.Median, new BytesPerSecondColumn())
        .HideColumns(Column.Error, Column.StdDev, Column.RatioSD)
        // Bytes, not KB: whether something is allocated per page shows in the last digits.
        .WithSummaryStyle(SummaryStyle.Default.WithSizeUnit(SizeUnit.B));
}
