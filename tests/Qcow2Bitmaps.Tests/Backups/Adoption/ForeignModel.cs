using System.Text.Json.Nodes;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Adoption;

/// <summary>What an image itself has, byte for byte, as QEMU says it: what a series makes is one written over the other.</summary>
/// <param name="Bytes">What QEMU reads of it.</param>
/// <param name="IsHeld">Which bytes it has.</param>
internal sealed record ForeignModel(byte[] Bytes, bool[] IsHeld)
{
    public static async Task<ForeignModel> ReadAsync(PushedSeries series, string path, bool isRaw)
    {
        byte[] bytes = await series.ReadAsync(path, isRaw ? "raw" : "qcow2");
        bool[] held = new bool[bytes.Length];
        if (isRaw)
        {
            Array.Fill(held, true);
            return new ForeignModel(bytes, held);
        }

        foreach (JsonNode? extent
            in JsonNode.Parse(await Qemu.ImgOkAsync("map", "--output", "json", QemuBitmaps.WithoutBacking(path)))!.AsArray())
        {
            if ((bool)extent!["present"]!)
            {
                Array.Fill(held, true, (int)extent["start"]!, (int)extent["length"]!);
            }
        }

        return new ForeignModel(bytes, held);
    }

    /// <summary>The disk that images make, the oldest first.</summary>
    public static byte[] Overlay(IEnumerable<ForeignModel> images)
    {
        byte[] disk = [];
        foreach (ForeignModel image in images)
        {
            Array.Resize(ref disk, image.Bytes.Length);
            for (int i = 0; i < disk.Length; i++)
            {
                disk[i] = image.IsHeld[i] ? image.Bytes[i] : disk[i];
            }
        }

        return disk;
    }

    /// <summary>Whether two disks are the same where a bitmap says nothing.</summary>
    public static bool AreSame(byte[] one, byte[] other, IEnumerable<DirtyExtent> extents) =>
        extents.Where(static extent => !extent.IsDirty).All(extent =>
    {
        int start = (int)extent.OffsetBytes;
        int length = (int)Math.Min(extent.EndBytes, Math.Min(one.Length, other.Length)) - start;
        return length <= 0 || one.AsSpan(start, length).SequenceEqual(other.AsSpan(start, length));
    });
}
