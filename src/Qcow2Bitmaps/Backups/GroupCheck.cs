namespace Qcow2Bitmaps.Backups;

/// <summary>Compares the groups that an image turns out to hold with those of its manifest.</summary>
/// <param name="backup">The backup, with its manifest.</param>
/// <param name="onFault">Receives the differences, group by group.</param>
internal sealed class GroupCheck(StoredBackup backup, Action<BackupDamage> onFault)
{
    private readonly IReadOnlyList<BackupGroup> _expected = backup.Manifest.Groups;
    private int _next;

    /// <summary>Compares the next group, in ascending order.</summary>
    public void Add(BackupGroup found)
    {
        Skip(found.OffsetBytes);
        if (_next == _expected.Count || _expected[_next].OffsetBytes != found.OffsetBytes)
        {
            onFault(new BackupDamage(backup, found.OffsetBytes, "it holds something that the manifest does not know"));
            return;
        }

        BackupGroup wanted = _expected[_next++];
        if (!wanted.Sha256.Span.SequenceEqual(found.Sha256.Span)
            || wanted.DataBytes != found.DataBytes
            || wanted.ZeroBytes != found.ZeroBytes)
        {
            onFault(new BackupDamage(
                backup,
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
        while (_next < _expected.Count && _expected[_next].OffsetBytes < beforeBytes)
        {
            onFault(new BackupDamage(backup, _expected[_next++].OffsetBytes, "what it should hold is missing"));
        }
    }
}
