using System.Globalization;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>QEMU does it.</summary>
internal sealed class QemuTruthTools(TempFolder folder) : ITruthTools
{
    /// <summary>QEMU makes zeros of what a longer image below would show, and records that in no bitmap.</summary>
    public bool RecordsResizes => false;

    public bool CanShrink => false;

    public Task CreateAsync(string path, Qcow2CreateOptions options)
    {
        string size = Text(options.SizeBytes);
        string text = $"cluster_size={Text(options.ClusterSizeBytes)},extended_l2={(options.ExtendedL2 ? "on" : "off")},compat="
            + $"{(options.Version < 3 ? "0.10" : "1.1")}";
        return Qemu.ImgOkAsync(
            [
                "create",
                "-q",
                "-f",
                "qcow2",
                "-o",
                text,
                .. options.BackingFile is { } backing ? ["-b", backing, "-F", options.BackingFormat!] : Array.Empty<string>(),
                path,
                size,
            ]);
    }

    public Task WriteAsync(string path, IReadOnlyList<TruthWrite> writes) =>
        Qemu.IoOkAsync(path, [.. writes.Select(static write => write.ToString())]);

    public async Task CrashAsync(string path, IReadOnlyList<TruthWrite> writes)
    {
        IEnumerable<string> commands = [.. writes.Select(static write => write.ToString()), "flush", "sigraise 9"];
        ProcessResult result = await Qemu.RunAsync(
            "qemu-io", null, ["-f", "qcow2", "-d", "unmap", .. commands.SelectMany(static c => new[] { "-c", c }), path]);
        Assert.True(result.ExitCode == 128 + 9, $"qemu-io: {result.ExitCode} {result.Error}");
        // QEMU leaves clusters behind that nothing uses.
        await Qemu.ImgAsync("check", "-q", "-r", "leaks", QemuBitmaps.WithoutBacking(path));
    }

    public async Task<string?> ResizeAsync(string path, long sizeBytes) =>
        Refusal(await Qemu.ImgAsync("resize", "-q", "-f", "qcow2", path, Text(sizeBytes)));

    public async Task<string?> BitmapAsync(string path, string action, string name, long granularityBytes) => Refusal(await Qemu.ImgAsync(
        ["bitmap", $"--{action}", .. action == "add" ? ["-g", Text(granularityBytes)] : Array.Empty<string>(), "-f", "qcow2", path, name]));

    public async Task CheckAsync(string path)
    {
        ProcessResult result = await Qemu.ImgAsync("check", QemuBitmaps.WithoutBacking(path));
        Assert.True(result.ExitCode == 0, $"check {path}: {result.Output}{result.Error}");
    }

    public async Task<byte[]> ReadAsync(string path)
    {
        string raw = folder.File("disk.raw");
        await Qemu.ImgOkAsync("convert", "-f", "qcow2", "-O", "raw", path, raw);
        return await File.ReadAllBytesAsync(raw, TestContext.Current.CancellationToken);
    }

    private static string? Refusal(ProcessResult result) => result.ExitCode == 0 ? null : result.Error.Trim();

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);
}
