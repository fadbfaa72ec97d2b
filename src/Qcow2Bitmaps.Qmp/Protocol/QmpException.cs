namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>A command was refused; nothing was changed. The message is the error's description, in QEMU's words where QEMU refuses too.</summary>
internal sealed class QmpException(string description, string errorClass = QmpErrorClass.Generic, Exception? inner = null) : Exception(description, inner)
{
    /// <summary>One of <see cref="QmpErrorClass"/>.</summary>
    public string ErrorClass => errorClass;
}
