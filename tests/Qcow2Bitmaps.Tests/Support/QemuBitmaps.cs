using System.Globalization;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Reads bitmaps through QEMU.</summary>
internal static class QemuBitmaps
{
    /// <summary>A name for QEMU's tools under which a file is a qcow2 image without backing file.</summary>
    public static string WithoutBacking(string image) =>
        $"json:{{\"driver\":\"qcow2\",\"backing\":null,\"file\":{{\"driver\":\"file\",\"filename\":\"{image}\"}}}}";

    /// <summary>The ranges of a bitmap as nbdinfo reads them from qemu-nbd, dirty and clean in turn.</summary>
    public static async Task<IReadOnlyList<DirtyExtent>> ReadExtentsAsync(string image, string bitmap)
    {
        ProcessResult result = await Qemu.RunAsync(
            "nbdinfo", Path.GetDirectoryName(image), $"--map=qemu:dirty-bitmap:{bitmap}", "--", "[", "qemu-nbd", "-r", "-B", bitmap,
            WithoutBacking(image), "]");
        Assert.True(result.ExitCode == 0, $"nbdinfo of {bitmap} in {image}: {result.Error}");
        return ParseMap(result.Output);
    }

    /// <summary>Parses lines of offset, length, value; neighbours of one value are joined.</summary>
    public static IReadOnlyList<DirtyExtent> ParseMap(string map)
    {
        var extents = new List<DirtyExtent>();
        foreach (string line in map.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            long offset = long.Parse(fields[0], CultureInfo.InvariantCulture);
            long length = long.Parse(fields[1], CultureInfo.InvariantCulture);
            bool isDirty = fields[2] != "0";
            if (extents.Count > 0 && extents[^1].IsDirty == isDirty)
            {
                extents[^1] = extents[^1] with { LengthBytes = extents[^1].LengthBytes + length };
            }
            else
            {
                extents.Add(new DirtyExtent(offset, length, isDirty));
            }
        }

        return extents;
    }
}
