using System.Diagnostics;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Every hostile image that concerns metadata: a clean error or a documented lenient result, in bounded time and memory.</summary>
public sealed class HostileImageTests
{
    private const int OpenBytes = 1 << 20;
    private const int OpenBytesPerByte = 64;
    private const int ReadBytes = 16 << 20;
    private const int ReadBytesPerByte = 256;

    [Theory]
    [MemberData(nameof(HostileCases.NamesAndLeniency), MemberType = typeof(HostileCases))]
    public async Task EndsAsExpected(string name, bool isLenient)
    {
        Strictness strictness = isLenient ? Strictness.Lenient : Strictness.AsQemu;
        HostileCase hostile = HostileCases.ByName[name];
        Probe probe = await RunAsync(hostile.Build(), strictness);
        FaultCode code = hostile.CodeFor(strictness);
        switch (hostile.For(strictness))
        {
            case Expected.Accepted:
                Assert.Null(probe.OpenError);
                Assert.Empty(probe.ReadErrors);
                break;
            case Expected.Noted:
                Assert.Null(probe.OpenError);
                Assert.Contains(probe.OpenFindings, fault => fault.Code == code);
                Assert.True(strictness == Strictness.Lenient || probe.ReadErrors.Count == 0);
                break;
            case Expected.NotedOnRead:
                Assert.Null(probe.OpenError);
                Assert.Empty(probe.ReadErrors);
                Assert.Contains(probe.ReadFindings, fault => fault.Code == code);
                break;
            case Expected.Refused:
                Assert.Equal(code, Assert.IsType<Qcow2FormatException>(probe.OpenError).Fault.Code);
                break;
            case Expected.RefusedOnRead:
                Assert.Null(probe.OpenError);
                Assert.All(probe.ReadErrors, error => Assert.Equal(code, Assert.IsType<Qcow2FormatException>(error).Fault.Code));
                Assert.NotEmpty(probe.ReadErrors);
                break;
            case Expected.Unsupported:
                Assert.IsType<Qcow2UnsupportedException>(probe.OpenError);
                break;
            default:
                Assert.Fail($"No rule for {hostile.For(strictness)}");
                break;
        }
    }

    [Theory]
    [MemberData(nameof(HostileCases.NamesAndLeniency), MemberType = typeof(HostileCases))]
    public async Task TakesBoundedTimeAndMemory(string name, bool isLenient)
    {
        Strictness strictness = isLenient ? Strictness.Lenient : Strictness.AsQemu;
        byte[] bytes = HostileCases.ByName[name].Build();
        int thread = Environment.CurrentManagedThreadId;
        var clock = Stopwatch.StartNew();
        Probe probe = await RunAsync(bytes, strictness);

        Assert.True(clock.Elapsed < Patience.Limit, $"took {clock.Elapsed}");
        Assert.Equal(thread, Environment.CurrentManagedThreadId);
        Assert.InRange(probe.OpenAllocatedBytes, 0, OpenBytes + ((long)OpenBytesPerByte * bytes.Length));
        Assert.InRange(probe.ReadAllocatedBytes, 0, ReadBytes + ((long)ReadBytesPerByte * bytes.Length));
    }

    [Theory]
    [MemberData(nameof(HostileCases.NamesAndLeniency), MemberType = typeof(HostileCases))]
    public async Task SaysWhatIsWrongAndWhere(string name, bool isLenient)
    {
        Strictness strictness = isLenient ? Strictness.Lenient : Strictness.AsQemu;
        byte[] bytes = HostileCases.ByName[name].Build();
        Probe probe = await RunAsync(bytes, strictness);
        Qcow2Exception?[] errors = [probe.OpenError, .. probe.ReadErrors];
        FormatFault[] faults = [
            .. probe.OpenFindings,
            .. probe.ReadFindings,
            .. errors.OfType<Qcow2FormatException>().Select(static error => error.Fault),
        ];

        Assert.All(errors, static error => Assert.DoesNotContain(error?.Message ?? "", char.IsControl));
        Assert.All(faults, static fault =>
        {
            Assert.NotEmpty(fault.Structure);
            Assert.NotEmpty(fault.Field);
            Assert.NotEqual(fault.Found, fault.Allowed);
            Assert.DoesNotContain(fault.ToString(), char.IsControl);
        });
    }

    [Theory]
    [MemberData(nameof(HostileCases.Names), MemberType = typeof(HostileCases))]
    public async Task TheToolSucceedsOrPrintsOneErrorAndNothingElse(string name)
    {
        HostileCase hostile = HostileCases.ByName[name];
        using var folder = new TempFolder();
        byte[] bytes = hostile.Build();
        string path = folder.Write("hostile.qcow2", bytes);
        ProcessResult result = await Support.Cli.RunAsync(isTerminal: true, "info", "-f", "qcow2", path);
        bool isRefused = hostile.AsQemu is Expected.Refused or Expected.Unsupported
            || (hostile.AsQemu == Expected.RefusedOnRead && hostile.Code == FaultCode.LuksHeader);

        Assert.Equal(isRefused ? 1 : 0, result.ExitCode);
        Assert.Equal(isRefused, result.OutputBytes.Length == 0);
        Assert.True(!isRefused || result.Error.Count(static c => c == '\n') == 1, result.Error);
        Assert.DoesNotContain((result.Output + result.Error).Replace("\n", "", StringComparison.Ordinal), char.IsControl);
        Assert.Equal(bytes, await File.ReadAllBytesAsync(path, TestContext.Current.CancellationToken));
    }

    private static async Task<Probe> RunAsync(byte[] bytes, Strictness strictness)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(Patience.Limit);
        return await Probe.RunAsync(MemoryStorage.ReadOnly(bytes), strictness, limit.Token);
    }
}
