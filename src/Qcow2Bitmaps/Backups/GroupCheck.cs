namespace Qcow2Bitmaps.Backups;

/// <summary>Compares the groups that an image turns out to hold with those of its manifest.</summary>
/// <param name="expected">Those of the manifest, in ascending order.</param>
/// <param name="onFault">Takes what differs, group by group.</param>
internal sealed class GroupCheck(IReadOnlyList<BackupGroup> expected, Action<BackupDamage> onFault)
{
    private int _next;

    /// <summary>Takes the next group, in ascending order.</summary>
    public void Add(BackupGroup found)
    {
        Skip(found.OffsetBytes);
        if (_next == expected.Count || expected[_next].OffsetBytes != found.OffsetBytes)
        {
            onFault(new BackupDamage(found.OffsetBytes, "it holds something that the manifest does not know"));
            return;
        }

        BackupGroup wanted = expected[_next++];
        if (!wanted.Sha256.Span.SequenceEqual(found.Sha256.Span)
            || wanted.DataBytes != found.DataBytes
            || wanted.ZeroBytes != found.ZeroBytes)
        {
            onFault(new BackupDamage(
                found.OffsetBytes,
                wanted.DataBytes == found.DataBytes && wanted.ZeroBytes == found.ZeroBytes
                    ? "its checksum differs"
                    : $"it holds {found.DataBytes} bytes of data and {found.ZeroBytes} of zeros, not {wanted.DataBytes} and "
                        + $"{wanted.ZeroBytes}"));
        }
    }

    /// <summary>Ends the comparison.</summary>
    public void Complete() => Skip(long.MaxValue);

    private void Skip(long beforeBytes)
    {
        while (_next < expected.Count && expected[_next].OffsetBytes < beforeBytes)
        {
            onFault(new BackupDamage(expected[_next++].OffsetBytes, "what it should hold is missing"));
        }
    }
}
