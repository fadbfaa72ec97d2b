namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>A command was refused; nothing was changed. The message is QEMU's description where QEMU refuses too.</summary>
internal sealed class QmpException(
    string description, string errorClass = QmpErrorClass.Generic, Exception? inner = null) : Exception(description, inner)
{
    /// <summary>One of <see cref="QmpErrorClass"/>.</summary>
    public string ErrorClass => errorClass;
}
