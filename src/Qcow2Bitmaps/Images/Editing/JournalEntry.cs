using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>What a journal says of one image: where it is, what it was like when the edit was prepared, and how it is switched.</summary>
/// <param name="Path">The image's full path.</param>
/// <param name="LastWrite">When the image was last written, by the preparation; null where that is not known.</param>
/// <param name="Directories">The old and the new bitmap directory: where they stand, and the SHA-256 of their bytes.</param>
/// <param name="Stages">The stages of the switch.</param>
internal sealed record JournalEntry(
    string Path, Int128? LastWrite, IReadOnlyList<JournalDirectory> Directories, IReadOnlyList<IReadOnlyList<SectorWrite>> Stages)
{
    /// <summary>How far an image has been switched.</summary>
    /// <param name="firstCluster">The first cluster as it is.</param>
    /// <returns>The number of stages that are done as a whole; null when the image is none of the states that the stages lead through.</returns>
    public int? StagesDone(ReadOnlySpan<byte> firstCluster)
    {
        // Later stages may change what earlier ones have: look from the end.
        for (int done = Stages.Count; done >= 0; done--)
        {
            if (IsAfter(done, firstCluster))
            {
                return done;
            }
        }

        return null;
    }

    /// <summary>Whether the stages change what an edit of bitmaps changes and nothing else: a file that lies beside an image is nobody to be trusted blindly.</summary>
    public bool ChangesOnlyExtensions(int headerLength)
    {
        foreach (SectorWrite write in Stages.SelectMany(static stage => stage))
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

    /// <summary>Whether the stages leave all else that the first cluster says: names of other files, other extensions.</summary>
    /// <param name="firstCluster">The first cluster as it is, in a state that the stages lead through.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public async ValueTask<bool> KeepsAllButBitmapsAsync(ReadOnlyMemory<byte> firstCluster, CancellationToken cancellationToken)
    {
        byte[] after = Switched(firstCluster);
        FirstCluster from = await ParseAsync(firstCluster.ToArray(), cancellationToken).ConfigureAwait(false);
        FirstCluster to = await ParseAsync(after, cancellationToken).ConfigureAwait(false);
        return string.Equals(from.BackingFile, to.BackingFile, StringComparison.Ordinal)
            && string.Equals(from.BackingFormat, to.BackingFormat, StringComparison.Ordinal)
            && string.Equals(from.DataFile, to.DataFile, StringComparison.Ordinal)
            && from.CryptoHeader == to.CryptoHeader
            && (from.Header.AutoclearFeatures | to.Header.AutoclearFeatures | AutoclearFeatures.Bitmaps) == (from.Header.AutoclearFeatures | AutoclearFeatures.Bitmaps)
            && from.Extensions.Where(IsOther).Select(TextOf).SequenceEqual(to.Extensions.Where(IsOther).Select(TextOf), StringComparer.Ordinal);
    }

    /// <summary>The first cluster once all stages are done.</summary>
    public byte[] Switched(ReadOnlyMemory<byte> firstCluster)
    {
        byte[] after = firstCluster.ToArray();
        foreach (SectorWrite write in Stages.SelectMany(static stage => stage).Where(static write => !write.After.IsEmpty))
        {
            write.After.CopyTo(after.AsMemory(write.Offset));
        }

        return after;
    }

    private static async ValueTask<FirstCluster> ParseAsync(byte[] firstCluster, CancellationToken cancellationToken) => await FirstCluster.ReadAsync(
        MemoryStorage.ReadOnly(firstCluster), Qcow2Limits.Default, new FaultLog(Strictness.Lenient, "journal"), cancellationToken).ConfigureAwait(false);

    private static bool IsOther(RawHeaderExtension extension) => extension.Type is not (HeaderExtensionType.Bitmaps or HeaderSwitch.Filler);

    private static string TextOf(RawHeaderExtension extension) => $"{(uint)extension.Type} {Convert.ToHexString(extension.Data.Span)}";

    private bool IsAfter(int done, ReadOnlySpan<byte> firstCluster)
    {
        var expected = new Dictionary<int, byte>();
        foreach (SectorWrite write in Stages.Reverse().SelectMany(static stage => stage))
        {
            Put(expected, write.Offset, write.Before.Span);
        }

        foreach (SectorWrite write in Stages.Take(done).SelectMany(static stage => stage))
        {
            Put(expected, write.Offset, write.After.Span);
        }

        foreach (SectorWrite write in done < Stages.Count ? Stages[done] : [])
        {
            // The next stage may have been begun: each of its writes is there or not.
            if (write.Offset + write.After.Length <= firstCluster.Length && firstCluster.Slice(write.Offset, write.After.Length).SequenceEqual(write.After.Span))
            {
                Put(expected, write.Offset, write.After.Span);
            }
        }

        foreach ((int offset, byte value) in expected)
        {
            if (offset >= firstCluster.Length || firstCluster[offset] != value)
            {
                return false;
            }
        }

        return true;
    }

    private static void Put(Dictionary<int, byte> bytes, int offset, ReadOnlySpan<byte> values)
    {
        for (int i = 0; i < values.Length; i++)
        {
            bytes[offset + i] = values[i];
        }
    }
}
