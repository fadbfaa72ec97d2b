namespace Qcow2Bitmaps.Tests.Backups.Recording;

internal enum RecordAction
{
    Add,
    Remove,
    Enable,
    Disable,
    Clear,
    Merge,
    Backup,
    Write,
    Zero,
    Discard,
    Checkpoint,
    Reopen,
    FinishJob,
    CancelJob,
    FailJob,
}
