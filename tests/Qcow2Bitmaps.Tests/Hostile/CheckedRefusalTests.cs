using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>
/// What opening an image, or reading its bitmaps, refuses, a check reports: it never says that there are no errors.
/// So does a repair that leaves it as it is.
/// </summary>
public sealed class CheckedRefusalTests
{
    private const int MutationsPerBase = 60;
    private const string NoErrors = "No errors were found";

    [Theory]
    [MemberData(nameof(HostileCases.Names), MemberType = typeof(HostileCases))]
    public async Task OfHostileImages(string name)
    {
        using var folder = new TempFolder();
        Assert.Equal("", await ContradictionAsync(folder, HostileCases.ByName[name].Build()));
    }

    /// <summary>The table is the last entry's bytes longer than 64 MiB, so that all entries are read before that is seen.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(1000)]
    public async Task OfASnapshotTableOverTheLimit(int entriesBehind)
    {
        const int ExtraBytes = 1024;
        byte[] entry = Patched.Snapshot("1", "a", ExtraBytes);
        int count = (int)(Qcow2Limits.Default.MaxSnapshotTableBytes / entry.Length) + 1 + entriesBehind;
        Patched image = Patched.WithoutBitmaps();
        int offset = image.Bytes.Length;
        image.Resize(offset + (count * entry.Length))
            .U32(HeaderLayout.SnapshotCount, (uint)count)
            .U64(HeaderLayout.SnapshotsOffset, (ulong)offset);
        BinaryPrimitives.WriteUInt32BigEndian(entry.AsSpan(8), 0);
        for (int i = 0; i < count; i++)
        {
            entry.CopyTo(image.Bytes, offset + (i * entry.Length));
        }

        using var folder = new TempFolder();
        Assert.Equal("", await ContradictionAsync(folder, image.Bytes));
    }

    [Theory]
    [MemberData(nameof(QemuAcceptanceTests.Bases), MemberType = typeof(QemuAcceptanceTests))]
    public async Task OfImagesWithFieldsAtBoundaries(string baseName)
    {
        using var folder = new TempFolder();
        byte[] bytes = QemuAcceptanceTests.Base(baseName);
        IReadOnlyList<MetadataField> fields = await MetadataFields.FindAsync(bytes, TestContext.Current.CancellationToken);
        ulong firstSeed = baseName.Aggregate(1UL, static (seed, c) => unchecked((seed * 31) + c));
        var contradictions = new List<string>();
        for (int i = 0; i < MutationsPerBase * Properties.Factor; i++)
        {
            Mutation mutation = Mutation.Of(bytes, fields, unchecked(firstSeed + ((ulong)i << 32)));
            if (await ContradictionAsync(folder, mutation.Bytes) is { Length: > 0 } contradiction)
            {
                contradictions.Add($"{i}: {mutation}: {contradiction}");
            }
        }

        Assert.True(contradictions.Count == 0, string.Join("\n", contradictions));
    }

    /// <summary>Where a check takes what opening refuses; empty where it does not.</summary>
    private static async Task<string> ContradictionAsync(TempFolder folder, byte[] bytes)
    {
        string path = folder.Write("image.qcow2", bytes);
        string? refusal = await RefusalAsync(path);
        if (refusal is null)
        {
            return "";
        }

        ProcessResult check = await Support.Cli.RunAsync("check", "-f", "qcow2", path);
        if (IsGood(check))
        {
            string qemu = Qemu.IsHere ? $"; qemu-img: {await QemuAsync(path)}" : "";
            return $"'check' finds nothing, but: {refusal}{qemu}";
        }

        ProcessResult repair = await Support.Cli.RunAsync("check", "-f", "qcow2", "-r", "all", path);
        return IsGood(repair) && await RefusalAsync(path) is { } left ? $"'check -r all' finds nothing, but: {left}" : "";
    }

    private static bool IsGood(ProcessResult check) => check.ExitCode == 0 || check.Output.Contains(NoErrors, StringComparison.Ordinal);

    private static async Task<string?> RefusalAsync(string path)
    {
        ProcessResult info = await Support.Cli.RunAsync("info", "-f", "qcow2", path);
        if (info.ExitCode != 0)
        {
            return info.Error;
        }

        Probe probe = await Probe.RunAsync(FileStorage.Open(path), Strictness.AsQemu, TestContext.Current.CancellationToken);
        return probe.IsAccepted ? null : (probe.OpenError ?? probe.ReadErrors[0]).Message;
    }

    private static async Task<string> QemuAsync(string path)
    {
        ProcessResult info = await Qemu.ImgAsync("info", "-f", "qcow2", path);
        ProcessResult check = await Qemu.ImgAsync("check", "-f", "qcow2", path);
        return $"info {info.ExitCode}, check {check.ExitCode} {check.Error.Split('\n')[0]}";
    }
}
