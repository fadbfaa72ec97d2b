using System.Text.Json;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>
/// A qcow2 image as QEMU's tools are to open it: without backing file, with the key of the fixtures where it is encrypted.
/// </summary>
internal sealed class QemuNode
{
    private const string KeyOption = "--object";
    private const string Key = "secret,id=key,data=fixture";

    // Names of data files are relative to where the tools run.
    private readonly string _folder;
    private readonly string _spec;
    private readonly string[] _key;

    public QemuNode(string path, EncryptionMethod encryption = EncryptionMethod.None)
    {
        _folder = Path.GetDirectoryName(path)!;
        string driver = path.StartsWith("/dev/loop", StringComparison.Ordinal) ? "host_device" : "file";
        string key = encryption switch
        {
            EncryptionMethod.Luks => ",\"encrypt\":{\"format\":\"luks\",\"key-secret\":\"key\"}",
            EncryptionMethod.Aes => ",\"encrypt\":{\"format\":\"aes\",\"key-secret\":\"key\"}",
            _ => "",
        };
        _spec = $"json:{{\"driver\":\"qcow2\",\"backing\":null{key},\"file\":{{\"driver\":\"{driver}\",\"filename\":\"{path}\"}}}}";
        _key = key.Length > 0 ? [KeyOption, Key] : [];
    }

    /// <summary>How <c>qemu-img check</c> ends and what it prints.</summary>
    public Task<ProcessResult> CheckAsync() => Qemu.RunAsync("qemu-img", _folder, ["check", .. _key, _spec]);

    /// <summary>The bitmaps that <c>qemu-img info</c> lists, without bits.</summary>
    public async Task<IReadOnlyList<StoredBitmap>> ListAsync()
    {
        ProcessResult result = await Qemu.RunAsync("qemu-img", _folder, ["info", "--output=json", .. _key, _spec]);
        Assert.True(result.ExitCode == 0, $"qemu-img info: {result.Error}");
        using var info = JsonDocument.Parse(result.OutputBytes);
        return info.RootElement.GetProperty("format-specific").GetProperty("data").TryGetProperty("bitmaps", out JsonElement list)
            ? [.. list.EnumerateArray().Select(QemuOpinion.Read)]
            : [];
    }

    /// <summary>The ranges of a bitmap, dirty and clean in turn.</summary>
    public async Task<IReadOnlyList<DirtyExtent>> ReadExtentsAsync(string bitmap)
    {
        ProcessResult result = await Qemu.RunAsync(
            "nbdinfo", _folder, [$"--map=qemu:dirty-bitmap:{bitmap}", "--", "[", "qemu-nbd", "-r", .. _key, "-B", bitmap, _spec, "]"]);
        Assert.True(result.ExitCode == 0, $"nbdinfo of {bitmap}: {result.Error}");
        return QemuBitmaps.ParseMap(result.Output);
    }

    /// <summary>Runs <c>qemu-img bitmap</c>.</summary>
    public Task<ProcessResult> BitmapAsync(IEnumerable<string> options, string bitmap) =>
        Qemu.RunAsync("qemu-img", _folder, ["bitmap", .. _key, .. options, "--", _spec, bitmap]);

    /// <summary>Writes to the disk.</summary>
    public async Task WriteAsync(long offsetBytes, long lengthBytes)
    {
        ProcessResult result = await Qemu.RunAsync("qemu-io", _folder, [.. _key, "-c", $"write {offsetBytes} {lengthBytes}", _spec]);
        Assert.True(
            result.ExitCode == 0 && result.Output.Contains("wrote", StringComparison.Ordinal), $"qemu-io: {result.Output}{result.Error}");
    }

    /// <summary>Opens the image for writing, and is killed.</summary>
    public async Task CrashAsync()
    {
        ProcessResult result = await Qemu.RunAsync("qemu-io", _folder, [.. _key, "-c", "sigraise 9", _spec]);
        Assert.True(result.ExitCode == 128 + 9, $"qemu-io: {result.ExitCode} {result.Error}");
    }
}
