using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Header;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>A journal's record of one image: its path, its state when the edit was prepared, and its switch.</summary>
/// <param name="Path">The image's full path.</param>
/// <param name="LastWrite">When the image was last written, by the preparation; null where that is not known.</param>
/// <param name="Directories">The old and the new bitmap directory: their offsets, and the SHA-256 of their bytes.</param>
/// <param name="Plan">The switch.</param>
internal sealed record JournalEntry(string Path, Int128? LastWrite, IReadOnlyList<JournalDirectory> Directories, SwitchPlan Plan)
{
    /// <summary>Whether the switch changes only what a bitmap edit changes: a file next to an image must not be trusted blindly.</summary>
    public bool ChangesOnlyExtensions(int headerLength)
    {
        foreach (SectorWrite write in Plan.Stages.SelectMany(static stage => stage))
        {
            if (write.Before.Length != write.After.Length || write.Offset < 0)
            {
                return false;
            }

            for (int i = 0; i < write.After.Length && write.Offset + i < headerLength; i++)
            {
                int at = write.Offset + i;
                bool isAllowed = at is (>= HeaderLayout.BackingFileOffset and < HeaderLayout.BackingFileSize)
                    or (>= HeaderLayout.AutoclearFeatures and < HeaderLayout.RefcountOrder);
                if (!isAllowed && write.Before.Span[i] != write.After.Span[i])
                {
                    return false;
                }
            }
        }

        return true;
    }

    /// <summary>Whether the switch keeps everything else in the first cluster: names of other files, other extensions.</summary>
    /// <param name="firstCluster">The current first cluster, in one of the states of the stages.</param>
    /// <param name="header">Its header.</param>
    public bool KeepsAllButBitmaps(ReadOnlyMemory<byte> firstCluster, Qcow2Header header)
    {
        byte[] after = Plan.After(firstCluster);
        return HeaderView.Of(firstCluster.Span, header) is { } was
            && HeaderView.Of(after, header) is { } becomes
            && (was with { Bitmaps = becomes.Bitmaps }) == becomes
            && (header.Version < 3
                || (AutoclearOf(after) & ~(AutoclearOf(firstCluster.Span) | AutoclearFeatures.Bitmaps)) == AutoclearFeatures.None);
    }

    private static AutoclearFeatures AutoclearOf(ReadOnlySpan<byte> cluster) =>
        (AutoclearFeatures)BinaryPrimitives.ReadUInt64BigEndian(cluster[HeaderLayout.AutoclearFeatures..]);
}
