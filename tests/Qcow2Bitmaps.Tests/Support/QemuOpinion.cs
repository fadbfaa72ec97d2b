using System.Text.Json;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>What QEMU says of an image: the second opinion beside <see cref="ImageState"/>.</summary>
/// <param name="CheckExitCode">What <c>qemu-img check</c> ends with: 0 for a clean image, 3 for leaks, 2 for corruptions.</param>
/// <param name="CheckOutput">What it prints.</param>
/// <param name="Bitmaps">Names, granularities and flags as <c>qemu-img info</c> lists them; no bits.</param>
internal sealed record QemuOpinion(int CheckExitCode, string CheckOutput, IReadOnlyList<StoredBitmap> Bitmaps)
{
    /// <summary>Asks QEMU about an image; it opens no backing file.</summary>
    public static async Task<QemuOpinion> AskAsync(string path)
    {
        string alone = QemuBitmaps.WithoutBacking(path);
        ProcessResult check = await Qemu.ImgAsync("check", alone);
        using var info = JsonDocument.Parse(await Qemu.ImgOkAsync("info", "--output=json", alone));
        var bitmaps = new List<StoredBitmap>();
        if (info.RootElement.GetProperty("format-specific").GetProperty("data").TryGetProperty("bitmaps", out JsonElement list))
        {
            bitmaps.AddRange(list.EnumerateArray().Select(Read));
        }

        return new QemuOpinion(check.ExitCode, check.Output + check.Error, bitmaps);
    }

    /// <summary>Asserts that QEMU opens the image, finds leaks at worst, and lists the bitmaps of a state that we have read.</summary>
    public static async Task AssertAgreesAsync(string path, ImageState state, string context)
    {
        QemuOpinion opinion = await AskAsync(path);
        Assert.True(opinion.CheckExitCode is 0 or 3, $"{context}: qemu-img check ends with {opinion.CheckExitCode}: {opinion.CheckOutput}");
        Assert.True(
            opinion.Bitmaps.SequenceEqual(state.Bitmaps.Select(static b => b with { Sha256 = "" })),
            $"{context}: qemu-img info lists {string.Join(", ", opinion.Bitmaps)}; we read\n{state}");
    }

    /// <summary>A bitmap as <c>qemu-img info</c> lists it, without bits.</summary>
    public static StoredBitmap Read(JsonElement bitmap)
    {
        BitmapFlags flags = BitmapFlags.None;
        foreach (JsonElement flag in bitmap.GetProperty("flags").EnumerateArray())
        {
            flags |= flag.GetString() == "auto" ? BitmapFlags.Auto : BitmapFlags.InUse;
        }

        return new StoredBitmap(bitmap.GetProperty("name").GetString()!, bitmap.GetProperty("granularity").GetInt64(), flags, "");
    }
}
