using System.Diagnostics;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>The zstd command. Tests that need it skip where it is absent; CI forbids that.</summary>
internal static class ZstdTool
{
    private static readonly Lazy<bool> s_isHere = new(static () => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
        .Any(static folder => new FileInfo(Path.Combine(folder, "zstd")).Exists));

    /// <summary>Skips the running test unless the command is here.</summary>
    public static void Require() => Assert.SkipUnless(s_isHere.Value, "zstd is not installed");

    /// <summary>Compresses contents, each to one frame that tells its size.</summary>
    public static async Task<byte[][]> CompressAsync(IReadOnlyList<byte[]> contents, params string[] options)
    {
        using var folder = new TempFolder();
        string[] files = [.. contents.Select((content, i) => folder.Write($"{i}", content))];
        ProcessResult result = await Qemu.RunAsync("zstd", null, ["-q", "-k", .. options, .. files]);
        Assert.True(result.ExitCode == 0, result.Error);
        return [.. files.Select(static file => File.ReadAllBytes(file + ".zst"))];
    }

    /// <summary>Compresses what comes through a pipe: the frame does not tell its size.</summary>
    public static async Task<byte[]> CompressPipeAsync(byte[] content, params string[] options)
    {
        using Process process = Qemu.Start("zstd", null, ["-q", "-c", .. options]);
        using var output = new MemoryStream();
        Task copying = process.StandardOutput.BaseStream.CopyToAsync(output);
        await process.StandardInput.BaseStream.WriteAsync(content);
        process.StandardInput.Close();
        await copying;
        await process.WaitForExitAsync();
        Assert.Equal(0, process.ExitCode);
        return output.ToArray();
    }

    /// <summary>Decompresses files of frames; null for those that it refuses.</summary>
    public static async Task<byte[]?[]> DecompressAsync(IReadOnlyList<byte[]> frames)
    {
        using var folder = new TempFolder();
        string[] files = [.. frames.Select((frame, i) => folder.Write($"{i}.zst", frame))];
        await Qemu.RunAsync("zstd", null, ["-d", "-q", "-k", .. files]);
        return [
            .. files.Select(static file => new FileInfo(file[..^4]) is { Exists: true } made ? File.ReadAllBytes(made.FullName) : null)];
    }
}
