using System.Globalization;
using System.Reflection;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace Qcow2Bitmaps.Benchmarks.Reporting;

/// <summary>Shows the bytes per second that <see cref="BytesPerOperationAttribute"/> and the median time make.</summary>
/// <remarks>The median, as a single iteration that another process disturbs would pull the mean.</remarks>
internal sealed class BytesPerSecondColumn : IColumn
{
    private const double NanosecondsPerSecond = 1e9;
    private const double BytesPerGigabyte = 1e9;
    private const string Unknown = "?";

    public string Id => nameof(BytesPerSecondColumn);

    public string ColumnName => "GB/s";

    public bool AlwaysShow => true;

    public ColumnCategory Category => ColumnCategory.Metric;

    public int PriorityInCategory => -1;

    public bool IsNumeric => true;

    public UnitType UnitType => UnitType.Dimensionless;

    public string Legend => "Bytes that the operation processes in a second, 10^9 bytes as a unit, by the median time";

    public bool IsAvailable(Summary summary) => true;

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase) => GetValue(summary, benchmarkCase, summary.Style);

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) =>
        summary[benchmarkCase]?.ResultStatistics is { Median: > 0 } statistics && BytesOf(benchmarkCase) is { } bytes
            ? (bytes / BytesPerGigabyte / (statistics.Median / NanosecondsPerSecond)).ToString("0.00", CultureInfo.InvariantCulture)
            : Unknown;

    public override string ToString() => ColumnName;

    private static long? BytesOf(BenchmarkCase benchmarkCase)
    {
        MethodInfo method = benchmarkCase.Descriptor.WorkloadMethod;
        BytesPerOperationAttribute? stated = method.GetCustomAttribute<BytesPerOperationAttribute>()
            ?? benchmarkCase.Descriptor.Type.GetCustomAttribute<BytesPerOperationAttribute>();
        if (stated?.UnitParameter is not { } parameter)
        {
            return stated?.Bytes;
        }

        return stated.Bytes + (stated.PerUnit * Convert.ToInt64(benchmarkCase.Parameters[parameter], CultureInfo.InvariantCulture));
    }
}
